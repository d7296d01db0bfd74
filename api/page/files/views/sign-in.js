// Sign-in: in development by tenant and role, else with an access token. The address stays, so that one comes back to it.

import { ask, begin } from "../session.js";
import { field, h, select } from "../elements.js";

export function signIn(development, expired, done) {
  const trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  const fails = (error) => {
    trouble.textContent = error.message;
    trouble.hidden = false;
  };
  return h(
    "div", { class: "sign-in" },
    h("h1", {}, "Sign in"),
    expired ? h("p", { class: "note", role: "alert" }, "Your session has expired. Sign in again to go on where you were.") : null,
    trouble,
    development ? byTenant(development, done, fails) : null,
    development ? h("details", {}, h("summary", {}, "Use an access token instead"), byToken(done, fails)) : byToken(done, fails),
  );
}

function byTenant(development, done, fails) {
  if (development.tenants.length === 0) {
    return h("div", { class: "note" }, h("p", {}, "There is no tenant yet. Make one in a terminal, then come again:"),
      h("pre", {}, ".venv/bin/bpm tenant create demo --register-unknown-packs"),
      h("button", { type: "button", onclick: () => location.reload() }, "Look again"));
  }
  const tenant = select(development.tenants.map((name) => [name, name]), development.tenants[0]);
  const role = select(development.roles.map((name) => [name, name.replaceAll("_", " ")]), "tenant_admin");
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        const { token } = await ask("/page/development-token", { method: "POST", body: { tenant: tenant.value, role: role.value } });
        begin(token);
        done();
      } catch (error) {
        fails(error);
      }
    },
  }, h("p", { class: "note" }, "This engine runs in development: anybody on this machine may sign in as anybody. There is no such form in production."),
  field("Tenant", tenant), field("Role", role), h("button", { class: "main", type: "submit" }, "Sign in"));
}

function byToken(done, fails) {
  const text = h("textarea", { rows: "5", spellcheck: "false", autocomplete: "off", required: true });
  return h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      try {
        begin(text.value);
        done();
      } catch (error) {
        fails(error);
      }
    },
  }, field("Access token", text, "It is kept in this tab only, until you close it or sign out."),
  h("button", { class: "main", type: "submit" }, "Sign in"));
}
