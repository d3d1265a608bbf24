/** Console: how this server is configured, and which variable of the environment changes it. */
import type { ConsolePage, Visit } from "./page.ts";

/** By setting: the variable. A setting without a row here is a fault of this table, which a test finds. */
export const VARIABLES: Readonly<Record<string, string>> = {
  issuer: "ISSUER",
  production: "NODE_ENV",
  brand_name: "BRAND_NAME",
  sign_up: "SIGN_UP",
  terms_url: "TERMS_URL",
  privacy_url: "PRIVACY_URL",
  mail: "SMTP_URL",
  mail_from: "MAIL_FROM",
  expiring_store: "REDIS_URL",
  breached_passwords: "BREACHED_PASSWORDS_URL",
  allow_networks: "ALLOW_NETWORKS",
  deny_networks: "DENY_NETWORKS",
  outbound_allow: "OUTBOUND_ALLOW",
  log_level: "LOG_LEVEL",
  remember_me: "REMEMBER_ME",
};

export const settingsPages: readonly ConsolePage[] = [
  {
    path: "/admin/settings",
    section: "settings",
    shows: ["getSettings"],
    async show(visit) {
      const { texts } = visit;
      const { body } = await visit.ask("getSettings");
      const rows = Object.entries(body).map(([name, value]) => [
        { text: name, isCode: true },
        { text: shown(value, visit) },
        { text: VARIABLES[name] ?? "–", isCode: true },
      ]);
      visit.show(
        "console/detail",
        { title: texts.t("console.nav.settings"), lead: texts.t("console.settings.lead") },
        {
          parts: [
            {
              title: texts.t("console.settings.title"),
              help: texts.t("console.settings.help"),
              table: {
                head: [
                  texts.t("console.settings.name"),
                  texts.t("console.settings.value"),
                  texts.t("console.settings.variable"),
                ],
                rows,
              },
            },
          ],
        },
      );
    },
  },
];

function shown(value: unknown, { texts }: Visit): string {
  if (typeof value === "boolean") return texts.t(value ? "console.yes" : "console.no");
  if (value === null || (Array.isArray(value) && value.length === 0)) return texts.t("console.settings.unset");
  return Array.isArray(value) ? value.join(", ") : String(value);
}
