/** What the engine's synchronous hooks must know of a client beyond its RFC 7591 metadata; it travels with the client through the library. */
import type { Client, ClientType } from "../clients/client.ts";

export interface ClientTraits {
  readonly type: ClientType;
  readonly isFirstParty: boolean;
  readonly isPkceOptional: boolean;
  readonly webOrigins: readonly string[];
  readonly refreshIdleSeconds: number;
  readonly refreshAbsoluteSeconds: number;
  readonly optionalScopes: readonly string[];
  /** Identifiers of the APIs whose tokens it may ask about. */
  readonly introspects: readonly string[];
  readonly apis: readonly {
    readonly apiId: string;
    readonly identifier: string;
    readonly scopes: readonly string[];
    readonly isDefault: boolean;
  }[];
}

/** The name under which the library keeps the traits (`extraClientMetadata`). */
export const TRAITS_PROPERTY = "signet";

export function traitsOf(client: Client): ClientTraits {
  const { settings } = client;
  return {
    type: client.type,
    isFirstParty: settings.isFirstParty,
    isPkceOptional: settings.isPkceOptional,
    webOrigins: settings.webOrigins,
    refreshIdleSeconds: settings.refreshIdleSeconds,
    refreshAbsoluteSeconds: settings.refreshAbsoluteSeconds,
    optionalScopes: settings.optionalScopes,
    introspects: [
      ...(client.type === "resource-server" ? client.apis.map(({ identifier }) => identifier) : []),
      ...settings.introspectApis,
    ],
    apis: client.apis.map(({ apiId, identifier, scopes, isDefault }) => ({ apiId, identifier, scopes, isDefault })),
  };
}

/** Browsers may call with the origins that the client registered, and those of a public client's own redirects. */
export function allowedOrigins(client: {
  readonly clientAuthMethod?: string | undefined;
  readonly redirectUris?: readonly string[] | undefined;
  readonly signet: { readonly webOrigins: readonly string[] };
}): readonly string[] {
  const redirects = client.clientAuthMethod === "none" ? (client.redirectUris ?? []) : [];
  const own = redirects.filter((uri) => /^https?:/.test(uri)).map((uri) => new URL(uri).origin);
  return [...new Set([...client.signet.webOrigins, ...own])];
}
