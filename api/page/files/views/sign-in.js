// Sign-in: in development by tenant and role, else by name and password. The address stays, so that one comes back to it.

import { ask, begin, signInBy } from "../session.js";
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
    development ? byTenant(development, done, fails) : byPassword(done, fails),
    development ? instead("Sign in by name and password", () => byPassword(done, fails)) : null,
    instead("I have an invitation", () => byInvitation(done, fails)),
    instead("Use an access token instead", () => byToken(done, fails)),
  );
}

/** Another way to sign in, whose form is made when it is opened. */
function instead(title, make) {
  const details = h("details", {}, h("summary", {}, title));
  details.addEventListener("toggle", () => {
    details.append(make());
    details.querySelector("input, textarea").focus();
  }, { once: true });
  return details;
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

/** A form that signs in by a route of /v1/auth. */
function by(route, body, done, fails, ...fields) {
  const button = h("button", { class: "main", type: "submit" }, "Sign in");
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await signInBy(route, body());
        done();
      } catch (error) {
        fails(error.retry_after_s ? new Error(`${error.message}: try again in ${error.retry_after_s} s`) : error);
      } finally {
        button.disabled = false;
      }
    },
  }, fields, button);
}

const line = (autocomplete, type = "text") => h("input", { type, autocomplete, required: true, spellcheck: "false", autocapitalize: "none" });

function byPassword(done, fails) {
  const [tenant, login, password] = [line("organization"), line("username"), line("current-password", "password")];
  const body = () => ({ tenant: tenant.value, login: login.value, password: password.value });
  return by("token", body, done, fails, field("Tenant", tenant), field("Name or e-mail", login), field("Password", password));
}

function byInvitation(done, fails) {
  const [invitation, password] = [line("off"), line("new-password", "password")];
  const body = () => ({ invitation: invitation.value.trim(), password: password.value });
  return by("invitation", body, done, fails, field("Invitation", invitation, "It is good once, and for a while."), field("New password", password));
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
