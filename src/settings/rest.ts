/** REST: `/api/v1/settings`: how this server is configured. The environment is what changes it. */
import { z } from "zod";
import type { Config } from "../config.ts";
import { type Operation, operation } from "../rest/operation.ts";
import { presentSettings } from "./setting.ts";

const settingsSchema = z.object({
  issuer: z.url(),
  production: z.boolean(),
  brand_name: z.string(),
  sign_up: z.enum(["on", "off", "invitation"]),
  remember_me: z.boolean().describe("Whether people may stay signed in on a device."),
  terms_url: z.string().nullable(),
  privacy_url: z.string().nullable(),
  mail: z.enum(["smtp", "off", "shown on a page"]),
  mail_from: z.string(),
  expiring_store: z.enum(["postgres", "redis"]),
  breached_passwords: z.boolean().describe("Whether new passwords are held against a list of stolen ones."),
  allow_networks: z.array(z.string()),
  deny_networks: z.array(z.string()),
  outbound_allow: z.array(z.string()),
  log_level: z.string(),
});

export function settingsOperations({ config }: { readonly config: Config }): readonly Operation[] {
  return [
    operation({
      ...{ id: "getSettings", method: "GET", path: "/settings", tag: "settings", scope: "settings:read" },
      summary: "Read how this server is configured",
      answer: settingsSchema,
      run: async () => ({ body: presentSettings(config) }),
    }),
  ];
}
