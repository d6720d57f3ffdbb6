// no validator: that would be a server elsewhere
window.ui = SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
