/** Forms of an API's access tokens: what an administrator may choose. */

/** A JWT is checked with the published keys alone; an opaque token only by asking, and is then ended at once everywhere. */
export const TOKEN_FORMATS = ["jwt", "opaque"] as const;
/** The first is what an API has unless it was registered otherwise. */
export const ACCESS_TOKEN_ALGORITHMS = ["ES256", "RS256", "EdDSA"] as const;

export type TokenFormat = (typeof TOKEN_FORMATS)[number];
export type AccessTokenAlgorithm = (typeof ACCESS_TOKEN_ALGORITHMS)[number];
