/** Signet's own settings of a client, beside its RFC 7591 metadata: their defaults follow from its type. */
import type { ClientType } from "./metadata.ts";
import type { ClientInput } from "./schema.ts";

/** Signet's own settings. */
export interface ClientSettings {
  /** The operator's own app: may skip consent, unless it is native. */
  readonly isFirstParty: boolean;
  /** Origins that may call token, userinfo and revocation from a browser. */
  readonly webOrigins: readonly string[];
  /** How long the same successor is given again to a client that lost the answer (decision 15), 0 to 60 s. */
  readonly refreshWindowSeconds: number;
  readonly refreshIdleSeconds: number;
  readonly refreshAbsoluteSeconds: number;
  /** Excuses a confidential web client from PKCE (decision 12); a security finding while it is on. */
  readonly isPkceOptional: boolean;
  /** Scopes, of OpenID or of an API, that the person may decline one by one. */
  readonly optionalScopes: readonly string[];
  /** Identifiers of APIs whose tokens this client may ask about (RFC 7662) beside its own. */
  readonly introspectApis: readonly string[];
}

const DAY = 86_400;
/** Long enough for two tabs and a lost answer, too short to be worth stealing for (decision 15). */
const REFRESH_WINDOW_SECONDS = 10;
const REFRESH_IDLE_SECONDS = 14 * DAY;
/** A browser keeps its token where scripts may reach it, so it ends sooner. */
const REFRESH_ABSOLUTE_SECONDS = { spa: 30 * DAY, other: 90 * DAY } as const;

/** The settings that a client of this type has when nobody said otherwise. */
export function defaultSettings(type: ClientType): ClientSettings {
  return {
    isFirstParty: false,
    webOrigins: [],
    refreshWindowSeconds: REFRESH_WINDOW_SECONDS,
    refreshIdleSeconds: REFRESH_IDLE_SECONDS,
    refreshAbsoluteSeconds: type === "spa" ? REFRESH_ABSOLUTE_SECONDS.spa : REFRESH_ABSOLUTE_SECONDS.other,
    isPkceOptional: false,
    optionalScopes: [],
    introspectApis: [],
  };
}

/** The origins of a browser app's redirects: from there its scripts call, unless it says otherwise. */
export function originsOf(redirectUris: readonly string[]): readonly string[] {
  return [...new Set(redirectUris.map((uri) => new URL(uri).origin))];
}

export function fillSettings(input: ClientInput): ClientSettings {
  const preset = defaultSettings(input.client_type);
  const origins = input.client_type === "spa" ? originsOf(input.redirect_uris ?? []) : preset.webOrigins;
  return {
    isFirstParty: input.first_party ?? preset.isFirstParty,
    webOrigins: unique(input.web_origins ?? origins),
    refreshWindowSeconds: input.refresh_window ?? preset.refreshWindowSeconds,
    refreshIdleSeconds: input.refresh_idle ?? preset.refreshIdleSeconds,
    refreshAbsoluteSeconds: input.refresh_absolute ?? preset.refreshAbsoluteSeconds,
    isPkceOptional: input.pkce_optional ?? preset.isPkceOptional,
    optionalScopes: unique(input.optional_scopes ?? preset.optionalScopes),
    introspectApis: unique(input.introspect_apis ?? preset.introspectApis),
  };
}

export function unique<T>(values: readonly T[]): readonly T[] {
  return [...new Set(values)];
}
