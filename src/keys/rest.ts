/** REST: `/api/v1/keys`: see, rotate, revoke. Taking a private key in and sealing anew are for whoever is on the host (`signet key`). */
import { z } from "zod";
import type { KeyTimes } from "../key-times.ts";
import { type Operation, operation, param } from "../rest/operation.ts";
import type { Keys } from "./administration.ts";
import { SIGNING_ALGORITHMS } from "./key.ts";
import { presentKeys, presentRevoked, presentSuccessor } from "./present.ts";

const time = z.iso.datetime();
const signingKeySchema = z.object({
  kid: z.string(),
  algorithm: z.string(),
  state: z.string(),
  origin: z.string(),
  created_at: time,
  activates_at: time.optional(),
  activated_at: time.optional(),
  retired_at: time.optional(),
  unpublishes_at: time.optional(),
  removes_at: time.optional(),
  revoked_at: time.optional(),
});
const randomKeySchema = z.object({
  id: z.string(),
  purpose: z.string(),
  version: z.int(),
  state: z.string(),
  created_at: time,
  activates_at: time.optional(),
  retired_at: time.optional(),
});
const keysSchema = z.object({
  believed_seconds: z.int().describe("So long a resource server's copy of the JWKS may hold a key that was revoked."),
  signing_keys: z.array(signingKeySchema),
  rotation: z.array(z.object({ algorithm: z.string(), next_rotation_at: time.optional() })),
  random_keys: z.array(randomKeySchema),
});
const successorSchema = z.object({
  algorithm: z.string(),
  kid: z.string(),
  signs_at: time.optional(),
  is_new: z.boolean().describe("false: it was announced before."),
});
const revokedSchema = z.object({
  kid: z.string(),
  algorithm: z.string(),
  was: z.string(),
  signed_from: time.optional(),
  signed_until: time.optional(),
  believed_until: time.describe("Until then a resource server's copy of the JWKS may still hold it."),
  successor: z.string().optional(),
  refused_until: time.optional(),
});

export function keyOperations(parts: { readonly keys: Keys; readonly times: KeyTimes }): readonly Operation[] {
  const { keys, times } = parts;
  return [
    operation({
      ...{ id: "listKeys", method: "GET", path: "/keys", tag: "keys", scope: "keys:read" },
      summary: "List the signing keys and the random keys, and what each does until when",
      answer: keysSchema,
      run: async () => ({ body: presentKeys(await keys.list(), times) }),
    }),
    operation({
      ...{ id: "rotateKeys", method: "POST", path: "/keys/rotate", tag: "keys", scope: "keys:write" },
      summary: "Announce the next signing keys now; they sign when every resource server can know them",
      body: z.strictObject({
        algorithms: z
          .array(z.enum(SIGNING_ALGORITHMS))
          .min(1, "names none")
          .max(10)
          .describe("All unless given.")
          .optional(),
      }),
      isBodyOptional: true,
      answer: z.object({ data: z.array(successorSchema) }),
      run: async ({ body, by }) => ({
        body: { data: (await keys.rotate([...new Set(body.algorithms)], by)).map(presentSuccessor) },
      }),
    }),
    operation({
      ...{ id: "revokeKey", method: "POST", path: "/keys/{kid}/revoke", tag: "keys", scope: "keys:write" },
      summary: "Emergency: take a signing key out of the JWKS at once",
      description: "Every ID token and JWT access token that it signed is no longer good.",
      answer: revokedSchema,
      run: async (call) => ({ body: presentRevoked(await keys.revoke(param(call, "kid"), call.by)) }),
    }),
  ];
}
