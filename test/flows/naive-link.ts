/** Links of mails as the naive store keeps them: looked at first, ended then. `naive.ts` puts it in the place of the real ones. */

import type { Db, Queries } from "../../src/store/db.ts";
import { endLinks, type Link, type LinkKind, lookAtLink } from "../../src/users/link.ts";

export * from "../../src/users/link.ts";

export async function useLink(tx: Queries, kind: LinkKind, token: string): Promise<Link | undefined> {
  const link = await lookAtLink(tx as Db, kind, token);
  if (link?.userId !== undefined) await endLinks(tx, link.userId, kind);
  return link;
}
