import tomllib

import pytest
from scripts.licences import PAGE, is_allowed, licence_of, needed, page
from tests.support.documents import ROOT


def test_every_installed_package_is_listed_with_its_licence() -> None:
    assert {"litestar", "uvloop", "numpy", "mdurl"} <= needed()  # direct, platform-specific, optional, transitive
    assert not {"pytest", "schemathesis", "pip-audit"} & needed()
    assert PAGE.read_text() == page(), "run `make licences`"


def test_every_licence_allows_commercial_use() -> None:
    assert {name: licence for name in needed() if not is_allowed(licence := licence_of(name))} == {}


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "MIT AND CC-BY-NC-4.0", "Proprietary", ""])
def test_a_licence_that_may_forbid_commercial_use_is_reported(licence: str) -> None:
    assert not is_allowed(licence)


@pytest.mark.parametrize("licence", ["MIT", "BSD-3-Clause AND MIT", "MIT OR CC-BY-NC-4.0", "(MIT OR GPL-3.0-only)"])
def test_one_allowed_alternative_of_a_licence_expression_suffices(licence: str) -> None:
    assert is_allowed(licence)


def test_a_package_without_a_known_licence_is_rejected() -> None:
    with pytest.raises(LookupError):
        licence_of("no-such-package")


def test_every_locked_file_comes_from_the_public_index_with_its_hash() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    sources = [tuple(one["source"].items()) for one in packages]
    assert set(sources) == {(("registry", "https://pypi.org/simple"),), (("editable", "."),)}
    for one in packages:
        for file in [*one.get("wheels", ()), *([one["sdist"]] if "sdist" in one else ())]:
            assert file["url"].startswith("https://files.pythonhosted.org/"), file
            assert file["hash"].startswith("sha256:"), file
