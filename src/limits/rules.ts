/** The numbers of the limits: what is counted, how many are free, how long it is remembered. */

/** Failures of one user: some are free, then each failure doubles the wait for the one next attempt. */
export interface DelayRule {
  readonly name: string;
  readonly freeFailures: number;
  /** Free failures are forgotten this long after the last one. */
  readonly forgetSeconds: number;
  readonly delaySecondsMax: number;
  /** The delays go on growing, and are forgotten this long after the last failure: waiting one out must not make five more free. */
  readonly keepSeconds: number;
}

/** So many in a window that begins with the first. */
export interface WindowRule {
  readonly name: string;
  readonly max: number;
  readonly windowSeconds: number;
}

/** Attempts and failures from one address, in one window. */
export interface AddressRule {
  readonly name: string;
  readonly attemptsMax: number;
  readonly failuresMax: number;
  readonly windowSeconds: number;
}

/** A person who mistypes is not hindered; who guesses has about a hundred tries a day (NIST SP 800-63B-4 section 3.2.2). */
export const SIGN_IN_BY_USER: DelayRule = {
  name: "sign_in_user",
  freeFailures: 5,
  forgetSeconds: 900,
  delaySecondsMax: 900,
  keepSeconds: 86_400,
};

/** One try each on a hundred users is an attack too; an office behind one address signs in less often than this. */
export const SIGN_IN_BY_ADDRESS: AddressRule = {
  name: "sign_in_address",
  attemptsMax: 300,
  failuresMax: 20,
  windowSeconds: 600,
};

/** Failed authentications of one client from one address; only failures are counted, so that a good request costs no write. */
export const CLIENT_AUTHENTICATION: WindowRule = { name: "client_authentication", max: 15, windowSeconds: 60 };

/** Mails to one address that somebody else may have typed: enough to try again, too few to fill a mailbox (T-RL-6). */
export const MAIL_TO_ADDRESS: WindowRule = { name: "mail_to_address", max: 3, windowSeconds: 3600 };
/** Sign-ups, recoveries and changes of address from one network; each hashes or sends. */
export const MAIL_FROM_NETWORK: WindowRule = { name: "mail_from_network", max: 10, windowSeconds: 3600 };
/** All of them together: beyond this somebody is using us to write to strangers. */
export const MAIL_FROM_ANYWHERE: WindowRule = { name: "mail_from_anywhere", max: 3000, windowSeconds: 3600 };
/** Codes and links typed or opened from one network: guesses at 256 bits are noise, guesses at codes are counted by their sign-up, too. */
export const PROOFS_FROM_NETWORK: WindowRule = { name: "proofs_from_network", max: 60, windowSeconds: 600 };
/** So many different accounts failed from one network in the window: somebody sprays. */
export const SPRAY_FROM_NETWORK: WindowRule = { name: "spray_from_network", max: 10, windowSeconds: 600 };

/** So many failed or refused attempts at one account in the window, from wherever: somebody hammers on it. */
export const BURST_ON_ACCOUNT: WindowRule = { name: "burst_on_account", max: 20, windowSeconds: 600 };

/** Access tokens of one network that the REST API refused; none of them is counted while it is good. A client with an old token asks again, a guesser cannot. */
export const REST_REFUSED: WindowRule = { name: "rest_refused", max: 100, windowSeconds: 60 };

/** Told once in a window. */
export const UNUSUAL_ONCE: WindowRule = { name: "unusual_once", max: 1, windowSeconds: 600 };

/** More failures than this among all sign-ins of a process, once there are enough to tell an attack from a bad morning. */
export const FAILURE_RATE = { name: "failure_rate", shareMax: 0.3, attemptsMin: 50, windowSeconds: 300 } as const;

/** An attempt that was never settled (its process died) counts as a failure after this time; hashing answers in three seconds. */
export const UNSETTLED_SECONDS = 10;
