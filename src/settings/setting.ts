/** Settings as administrators see them: what this process was configured with (config.ts), without a secret and without an address of a store. */
import type { Config } from "../config.ts";

export function presentSettings(config: Config) {
  return {
    issuer: config.issuer,
    production: config.isProduction,
    brand_name: config.brandName,
    sign_up: config.signUp,
    remember_me: config.mayRemember,
    terms_url: config.termsUrl ?? null,
    privacy_url: config.privacyUrl ?? null,
    mail: config.smtpUrl === undefined ? (config.isProduction ? "off" : "shown on a page") : "smtp",
    mail_from: config.mailFrom,
    expiring_store: config.redisUrls === undefined ? "postgres" : "redis",
    breached_passwords: config.breachedPasswordsUrl !== undefined,
    allow_networks: [...config.allowNetworks],
    deny_networks: [...config.denyNetworks],
    outbound_allow: [...config.outboundAllow],
    log_level: config.logLevel,
  };
}
