"""Which mutants are worth testing: those that compile and can behave differently."""

import ast
import warnings


class _Normaliser(ast.NodeTransformer):
    """Removes what does not matter at run time: annotations, the kind of parameters, and `slots` of dataclasses."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        self.generic_visit(node)
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults += [default for default in node.kw_defaults if default is not None]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                decorator.keywords = [keyword for keyword in decorator.keywords if keyword.arg != "slots"]
        return node


def behaviour(source: str) -> str | None:
    """A normal form of a source text: equal for two that differ only in what `_Normaliser` removes. None if the text
    does not compile, or only with a warning such as `is` with a literal; warnings are errors in our tests."""
    try:
        with warnings.catch_warnings(action="error"):
            compile(source, "mutant", "exec")
    except (SyntaxError, SyntaxWarning, ValueError):
        return None
    return ast.dump(_Normaliser().visit(ast.parse(source)))
