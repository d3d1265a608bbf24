/** Mails that somebody asks for with an address that may be another's: counted by who asks, by whom it goes to, and all together. */
import { AppError } from "../errors.ts";
import { addressSubject } from "./address.ts";
import type { Limits } from "./limit.ts";
import { MAIL_FROM_ANYWHERE, MAIL_FROM_NETWORK, MAIL_TO_ADDRESS } from "./rules.ts";

/**
 * Counts one, and says whether it may be sent. Throws AppError login_throttled for the network that asks; when the address or everybody had
 * their share the answer of the page does not differ. `identifier` is the mail address as it is compared.
 */
export async function mayMail(
  limits: Limits,
  { address, identifier }: { readonly address: string; readonly identifier: string },
): Promise<boolean> {
  const wait = await limits.hit(MAIL_FROM_NETWORK, addressSubject(address));
  if (wait !== undefined) throw new AppError("login_throttled", undefined, wait);
  const isFew = (await limits.hit(MAIL_TO_ADDRESS, identifier)) === undefined;
  return isFew && (await limits.hit(MAIL_FROM_ANYWHERE, "")) === undefined;
}
