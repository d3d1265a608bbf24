/** SQL of the devices that people sign in with. */
import type { Queries } from "../store/db.ts";

export type DeviceRow = {
  readonly token_hash: string;
  readonly user_agent: string;
  readonly network: string;
  readonly created_at: Date;
  readonly seen_at: Date;
};

export async function touchDevice(
  tx: Queries,
  device: { readonly userId: string; readonly tokenHash: string; readonly userAgent: string; readonly network: string },
  at: Date,
): Promise<DeviceRow | undefined> {
  const [row] = await tx.query<DeviceRow>(
    `with before as (select * from devices where user_id = $1 and token_hash = $2)
     update devices set user_agent = $3, network = $4, seen_at = $5 from before
     where devices.user_id = $1 and devices.token_hash = $2
     returning before.token_hash, before.user_agent, before.network, before.created_at, before.seen_at`,
    [device.userId, device.tokenHash, device.userAgent, device.network, at],
  );
  return row;
}

export async function insertDevice(
  tx: Queries,
  device: { readonly userId: string; readonly tokenHash: string; readonly userAgent: string; readonly network: string },
  at: Date,
): Promise<void> {
  await tx.query(
    `insert into devices (user_id, token_hash, user_agent, network, created_at, seen_at) values ($1, $2, $3, $4, $5, $5)
     on conflict (user_id, token_hash) do nothing`,
    [device.userId, device.tokenHash, device.userAgent, device.network, at],
  );
}

export async function findDevice(
  queries: Queries,
  device: { readonly userId: string; readonly tokenHash: string },
): Promise<boolean> {
  const rows = await queries.query("select 1 from devices where user_id = $1 and token_hash = $2", [
    device.userId,
    device.tokenHash,
  ]);
  return rows.length > 0;
}

export async function selectDevices(queries: Queries, userId: string, limit: number): Promise<readonly DeviceRow[]> {
  return queries.query<DeviceRow>(
    `select token_hash, user_agent, network, created_at, seen_at from devices where user_id = $1
     order by seen_at desc limit $2`,
    [userId, limit],
  );
}

/** Nobody has a hundred devices; the least used ones go. */
export async function deleteSurplus(tx: Queries, userId: string, kept: number): Promise<void> {
  await tx.query(
    `delete from devices where user_id = $1 and token_hash in (
       select token_hash from devices where user_id = $1 order by seen_at desc offset $2
     )`,
    [userId, kept],
  );
}

export async function deleteDevices(tx: Queries, userId: string): Promise<void> {
  await tx.query("delete from devices where user_id = $1", [userId]);
}

export type LogoutState = "queued" | "delivered" | "failed";

export type LogoutRow = {
  readonly id: string;
  readonly client_id: string;
  readonly user_id: string;
  readonly sid: string | null;
  readonly state: LogoutState;
  readonly attempts: number;
  readonly due_at: Date;
  readonly delivered_at: Date | null;
  readonly error: string | null;
  readonly created_at: Date;
};

const LOGOUT_COLUMNS = "id, client_id, user_id, sid, state, attempts, due_at, delivered_at, error, created_at";

export async function insertLogout(
  tx: Queries,
  notice: Pick<LogoutRow, "id" | "client_id" | "user_id" | "sid" | "created_at">,
): Promise<void> {
  await tx.query(
    `insert into logout_notices (id, client_id, user_id, sid, state, due_at, created_at)
     values ($1, $2, $3, $4, 'queued', $5, $5)`,
    [notice.id, notice.client_id, notice.user_id, notice.sid, notice.created_at],
  );
}

/** Takes due ones for this process alone, until the lease ends. */
export async function claimLogouts(
  queries: Queries,
  call: { readonly at: Date; readonly leaseEndsAt: Date; readonly limit: number },
): Promise<readonly LogoutRow[]> {
  return queries.query<LogoutRow>(
    `update logout_notices set attempts = attempts + 1, due_at = $2 where id in (
       select id from logout_notices where state = 'queued' and due_at <= $1 order by due_at limit $3 for update skip locked
     ) returning ${LOGOUT_COLUMNS}`,
    [call.at, call.leaseEndsAt, call.limit],
  );
}

export async function settleLogout(
  queries: Queries,
  id: string,
  outcome: { readonly state: LogoutState; readonly at: Date; readonly error: string | null },
): Promise<void> {
  await queries.query(
    `update logout_notices set state = $2, error = $4,
       delivered_at = case when $2 = 'delivered' then $3 else delivered_at end,
       due_at = case when $2 = 'queued' then $3 else due_at end
     where id = $1 and state = 'queued'`,
    [id, outcome.state, outcome.at, outcome.error],
  );
}

export async function selectLogouts(
  queries: Queries,
  filter: { readonly userId?: string | undefined; readonly clientId?: string | undefined; readonly limit: number },
): Promise<readonly LogoutRow[]> {
  return queries.query<LogoutRow>(
    `select ${LOGOUT_COLUMNS} from logout_notices
     where ($1::uuid is null or user_id = $1::uuid) and ($2::text is null or client_id = $2)
     order by created_at desc, id limit $3`,
    [filter.userId ?? null, filter.clientId ?? null, filter.limit],
  );
}

export async function deleteOldLogouts(queries: Queries, before: Date, limit: number): Promise<number> {
  const rows = await queries.query(
    `delete from logout_notices where id in (
       select id from logout_notices where state <> 'queued' and created_at < $1 limit $2 for update skip locked
     ) returning 1`,
    [before, limit],
  );
  return rows.length;
}
