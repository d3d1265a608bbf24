/** Users: the people who sign in. Every change is recorded in its own transaction; a failed sign-in never says why it failed. */
import type { Actor, AuditEvent, EventName, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Revocations } from "../revocations/revocation.ts";
import { type Db, isUniqueViolation, type Queries } from "../store/db.ts";
import { takeLock } from "../store/locks.ts";
import type { IsBreached } from "./breached.ts";
import { changedColumns, columnsOf, toUser } from "./columns.ts";
import { type EmailAddress, parseEmail } from "./email.ts";
import type { Hasher } from "./hasher.ts";
import { listUsers, type UserPage } from "./list.ts";
import { checkPassword, normalizePassword, passwordContext, passwordFieldFault, refused } from "./password.ts";
import {
  countRows,
  deleteRole,
  findRow,
  hasOtherOwner,
  hasOwnerRow,
  insertRole,
  insertUser,
  lockRow,
  type UserRow,
  updateDisabled,
  updatePassword,
  updatePerson,
  updateUser,
} from "./queries.ts";
import type { NewUser, StandardClaims, UserChange, UserFilter } from "./schema.ts";
import { authenticate, rowByEmail } from "./sign-in.ts";

export { presentUser } from "./columns.ts";
export type { NewUser, StandardClaims, UserChange, UserFilter } from "./schema.ts";

export interface User {
  /** A UUID, never given to anybody else; the `sub` of every token. */
  readonly id: string;
  /** As it was written, the domain in ASCII. */
  readonly email: string;
  readonly isEmailVerified: boolean;
  /** OpenID Connect Core section 5.1, names as on the wire; a claim without a value is absent. */
  readonly claims: StandardClaims;
  readonly roles: readonly string[];
  readonly isDisabled: boolean;
  readonly hasPassword: boolean;
  /** What the person chose for pages and mails. */
  readonly language: string | undefined;
  readonly acceptedTerms: Readonly<Record<string, string>> | undefined;
  /** When the account goes, if the person asked for that. */
  readonly deleteAt: Date | undefined;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

type Alongside = (tx: Queries, user: User) => Promise<void>;

/** A failure says no more than that. The id is for the audit trail and the counters, never for an answer. */
export type SignInResult = { readonly user: User } | { readonly failed: true; readonly userId?: string };

type Check = (before: User) => void;
export interface Users {
  /** `alongside` runs in the same transaction. Throws AppError user_email_invalid, user_email_taken, user_password_refused. */
  create(input: NewUser, by: Actor, alongside?: (tx: Queries, id: string) => Promise<void>): Promise<User>;
  /**
   * The first owner: works once, for one of however many callers at once; afterwards AppError setup_link_gone.
   * `alongside` runs in the same transaction.
   */
  createOwner(input: NewUser, by: Actor, alongside?: (tx: Queries) => Promise<void>): Promise<User>;
  find(id: string): Promise<User | undefined>;
  findByEmail(email: string): Promise<User | undefined>;
  list(filter: UserFilter): Promise<UserPage>;
  /** `check` looks at the user under the lock and throws to leave it as it is. Throws AppError user_unknown and what `create` throws. A new address counts as unverified unless the change says otherwise. */
  update(idOrEmail: string, change: UserChange, by: Actor, check?: Check): Promise<User>;
  /** Disabling also ends all sessions and apps of the user, again if the user is disabled already. Throws AppError user_unknown, user_last_owner. */
  setDisabled(idOrEmail: string, isDisabled: boolean, by: Actor, check?: Check): Promise<User>;
  /** Whoever knew the old one is signed out everywhere. `alongside` runs in the same transaction. Throws AppError user_unknown, user_password_refused. */
  setPassword(idOrEmail: string, password: string, by: Actor, alongside?: Alongside): Promise<User>;
  /** What is wrong with a new password for this person, as a field of a form tells it; undefined when it may be taken. The list of stolen ones is not asked. */
  passwordFault(password: string, of: Pick<User, "email" | "claims">): ReturnType<typeof passwordFieldFault>;
  /** The hash of a password that may be taken, for whoever writes it in a transaction of their own. Throws AppError user_unknown, user_password_refused. */
  hashNewPassword(id: string, password: string): Promise<string>;
  /** The same for somebody who is no user yet. */
  hashFirstPassword(password: string, of: { readonly email: string; readonly claims: StandardClaims }): Promise<string>;
  /** Whether the password is the one of this hash; costs one hash. Throws AppError hasher_busy. */
  verifyHash(hash: string, password: string): Promise<boolean>;
  /** What the person chose or accepted; `terms` is a JSON document. */
  savePerson(tx: Queries, id: string, person: { readonly language?: string; readonly terms?: string }): Promise<void>;
  hasOwner(): Promise<boolean>;
  countUsers(): Promise<number>;
  /** Same work and time for an unknown, a disabled and a passwordless user and for a wrong password. Throws AppError hasher_busy, and user_password_refused above 1,024 bytes. */
  authenticate(input: {
    readonly email: string;
    readonly password: string;
    /** A browser that this person has used before does not wait behind a flood of others. */
    readonly isKnownDevice?: boolean;
  }): Promise<SignInResult>;
}

interface Room {
  readonly db: Db;
  readonly hasher: Hasher;
  readonly record: RecordEvent;
  readonly revocations: Revocations;
  readonly issuerName: string | undefined;
  readonly isBreached: IsBreached | undefined;
}

/** In small letters, as it is made: what is found by it elsewhere, such as sessions, is found by its very text. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function createUsers(options: {
  db: Db;
  hasher: Hasher;
  record: RecordEvent;
  revocations: Revocations;
  issuerName?: string;
  isBreached?: IsBreached | undefined;
}): Users {
  const room: Room = { ...options, issuerName: options.issuerName, isBreached: options.isBreached };
  return {
    create: (input, by, alongside) => createUser(room, { input, by, alongside }),
    createOwner: (input, by, alongside) => createFirstOwner(room, { input, by, alongside }),
    find: async (id) => (UUID.test(id) ? toUser(await findRow(room.db, id)) : undefined),
    findByEmail: async (email) => toUser(await rowByEmail(room.db, email)),
    list: (filter) => listUsers(room.db, filter),
    update: (idOrEmail, change, by, check) => changeUser(room, idOrEmail, { change, by, check }),
    setDisabled: (idOrEmail, ...change) => disableUser(room, idOrEmail, ...change),
    setPassword: (idOrEmail, password, by, alongside) => changePassword(room, { idOrEmail, password, by, alongside }),
    passwordFault: (password, of) =>
      passwordFieldFault(password, passwordContext(of.email, of.claims, room.issuerName)),
    async hashNewPassword(id, password) {
      const row = known(await findRow(room.db, id));
      return hashChecked(room, password, { email: { canonical: row.email_canonical }, claims: row.claims });
    },
    hashFirstPassword: (password, of) =>
      hashChecked(room, password, { email: { canonical: checkEmail(of.email).canonical }, claims: of.claims }),
    verifyHash: (hash, password) => room.hasher.verify(hash, normalizePassword(password)),
    savePerson: (tx, id, person) => updatePerson(tx, id, person),
    hasOwner: () => hasOwnerRow(room.db),
    countUsers: () => countRows(room.db),
    authenticate: (input) => authenticate(room, input),
  };
}

async function createUser(
  room: Room,
  call: {
    input: NewUser;
    by: Actor;
    first?: (tx: Queries) => Promise<void>;
    alongside?: ((tx: Queries, id: string) => Promise<void>) | undefined;
  },
): Promise<User> {
  const { input, by } = call;
  const email = checkEmail(input.email);
  const claims = input.claims ?? {};
  const hash =
    input.password === undefined
      ? (input.passwordHash ?? null)
      : await hashChecked(room, input.password, { email, claims });
  return commit(room, email, async (tx) => {
    const at = now();
    await call.first?.(tx);
    const user = columnsOf(email, input.isEmailVerified ?? false, claims);
    const id = await insertUser(tx, { ...user, password_hash: hash }, at);
    if (input.isOwner === true) {
      await takeLock(tx, "owners");
      await insertRole(tx, id, "owner", at);
    }
    const data = { has_password: hash !== null, is_owner: input.isOwner === true };
    await room.record(tx, event("user.created", by, id, data));
    await call.alongside?.(tx, id);
    return known(await findRow(tx, id));
  });
}

async function createFirstOwner(
  room: Room,
  call: { input: NewUser; by: Actor; alongside?: ((tx: Queries) => Promise<void>) | undefined },
): Promise<User> {
  // Asked first, so that nobody makes the server hash for nothing; asked again under the lock, where it counts.
  if (await hasOwnerRow(room.db)) throw new AppError("setup_link_gone");
  const first = async (tx: Queries): Promise<void> => {
    await takeLock(tx, "owners");
    if (await hasOwnerRow(tx)) throw new AppError("setup_link_gone");
    await call.alongside?.(tx);
  };
  return createUser(room, { input: { ...call.input, isOwner: true }, by: call.by, first });
}

async function changeUser(
  room: Room,
  idOrEmail: string,
  { change, by, check }: { change: UserChange; by: Actor; check: Check | undefined },
): Promise<User> {
  const found = known(await anyRow(room.db, idOrEmail));
  const email = change.email === undefined ? undefined : checkEmail(change.email);
  return commit(room, email, async (tx) => {
    if (change.isOwner !== undefined) await takeLock(tx, "owners");
    const row = known(await lockRow(tx, found.id));
    check?.(toUser(row));
    const at = now();
    const next = changedColumns(row, change, email);
    const fields = [...next.fields];
    if (fields.length > 0) await updateUser(tx, { id: row.id, ...next.columns }, at);
    if (change.isOwner !== undefined && change.isOwner !== row.roles.includes("owner")) {
      fields.push("roles");
      if (change.isOwner) await insertRole(tx, row.id, "owner", at);
      else await removeOwner(tx, row, () => deleteRole(tx, row.id, "owner"));
    }
    if (fields.length > 0) await room.record(tx, event("user.updated", by, row.id, { fields }));
    return known(await findRow(tx, row.id));
  });
}

async function disableUser(room: Room, ...given: Parameters<Users["setDisabled"]>): Promise<User> {
  const [idOrEmail, isDisabled, by, check] = given;
  const found = known(await anyRow(room.db, idOrEmail));
  const user = await commit(room, undefined, async (tx) => {
    await takeLock(tx, "owners");
    const row = known(await lockRow(tx, found.id));
    check?.(toUser(row));
    if (isDisabled) await room.revocations.write(tx, { kind: "user", id: row.id });
    if (isDisabled === (row.disabled_at !== null)) return row;
    const write = (at = now()): Promise<void> => updateDisabled(tx, row.id, isDisabled ? at : null, at);
    await (isDisabled ? removeOwner(tx, row, write) : write());
    await room.record(tx, event(isDisabled ? "user.disabled" : "user.enabled", by, row.id, {}));
    return known(await findRow(tx, row.id));
  });
  if (isDisabled) await room.revocations.carryOut({ kind: "user", id: user.id });
  return user;
}

async function changePassword(
  room: Room,
  call: { idOrEmail: string; password: string; by: Actor; alongside: Alongside | undefined },
): Promise<User> {
  const { password, by } = call;
  const row = known(await anyRow(room.db, call.idOrEmail));
  const hash = await hashChecked(room, password, { email: { canonical: row.email_canonical }, claims: row.claims });
  const user = await commit(room, undefined, async (tx) => {
    if (!(await updatePassword(tx, row.id, hash))) throw new AppError("user_unknown");
    await room.revocations.write(tx, { kind: "user", id: row.id });
    await room.record(tx, event("user.password_changed", by, row.id, {}));
    await call.alongside?.(tx, toUser(row));
    return known(await findRow(tx, row.id));
  });
  await room.revocations.carryOut({ kind: "user", id: user.id });
  return user;
}

async function hashChecked(
  room: Room,
  password: string,
  user: { email: Pick<EmailAddress, "canonical">; claims: StandardClaims },
): Promise<string> {
  checkPassword(password, passwordContext(user.email.canonical, user.claims, room.issuerName));
  const normal = normalizePassword(password);
  if ((await room.isBreached?.(normal)) === true) throw refused("breached");
  return room.hasher.hash(normal);
}

/** The unique index decides between two who want one address at the same moment; an id is random and never taken. */
async function commit(
  room: Room,
  email: EmailAddress | undefined,
  work: (tx: Queries) => Promise<UserRow>,
): Promise<User> {
  try {
    return toUser(await room.db.transaction(work));
  } catch (error) {
    if (email !== undefined && isUniqueViolation(error)) throw new AppError("user_email_taken");
    throw error;
  }
}

/** An installation without an owner who can sign in would have no way back through its pages. The caller holds the lock. */
async function removeOwner(tx: Queries, row: UserRow, write: () => Promise<void>): Promise<void> {
  if (row.roles.includes("owner") && !(await hasOtherOwner(tx, row.id))) throw new AppError("user_last_owner");
  await write();
}

function checkEmail(input: string): EmailAddress {
  const email = parseEmail(input);
  if (email === undefined) throw new AppError("user_email_invalid");
  return email;
}

function anyRow(queries: Queries, idOrEmail: string): Promise<UserRow | undefined> {
  return UUID.test(idOrEmail) ? findRow(queries, idOrEmail) : rowByEmail(queries, idOrEmail);
}

function known(row: UserRow | undefined): UserRow {
  if (row === undefined) throw new AppError("user_unknown");
  return row;
}

function event(name: EventName, actor: Actor, id: string, data: AuditEvent["data"] = {}): AuditEvent {
  return { name, actor, subject: { kind: "user", id }, data };
}
