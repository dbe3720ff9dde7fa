// Relative to this script, because the public URL may have a path.
SwaggerUIBundle({
  url: new URL("../openapi.json", document.currentScript.src).href, dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
});
