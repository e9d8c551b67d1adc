/**
 * Waits: how a run learns that an event was sent, or that another run ended.
 *
 * Register, then check. A waiting run commits its wait row and then looks for the event; whoever emits commits the
 * event and then looks for wait rows. Whichever comes second sees the other, without a lock. A crash between the two
 * is made good by `repairWaits`, which every worker runs now and then.
 */
import { binary, lookUp } from '../store/index.ts';
import { APPROVAL_EVENT } from './approvals.ts';
import { checkEventName } from './context.ts';
import type { Core } from './core.ts';
import { storeEvent } from './events.ts';
import type { Call, Frame } from './frame.ts';
import { fromJson } from './json.ts';
import type { EmitRequest, EmittedEvent, StoredError } from './types.ts';

const { int4Array, textArray, uuidArray } = binary;

const FIRST_ID = '00000000-0000-0000-0000-000000000000';

export interface Waits {
  checkWait(frame: Frame, call: Call): void;
  nudge(runId: string): Promise<void>;
  /** Wakes the runs that wait for any of these; ids of ended runs go with type `$run`. */
  wake(pairs: readonly { eventType: string; correlationId: string }[]): Promise<number>;
  emit(request: EmitRequest): Promise<EmittedEvent>;
  /** Wakes parked runs whose event or run is there all the same: looks at one page of them, or at all. */
  repair(all?: 'all'): Promise<void>;
}

interface Check {
  readonly frame: Frame;
  readonly call: Call;
}

export function createWaits(core: Core): Waits {
  let queued: Check[] = [];
  let checking = false;

  function checkWait(frame: Frame, call: Call): void {
    queued.push({ frame, call });
    call.looks += 1;
    if (!checking) {
      checking = true;
      setImmediate(() => void runChecks());
    }
  }

  async function runChecks(): Promise<void> {
    while (queued.length > 0) {
      const taken = queued;
      queued = [];
      const batch = taken.filter(({ frame, call }) => !frame.closed && !call.settling && call.registered);
      try {
        await Promise.all([
          checkEvents(batch.filter(({ call }) => call.kind === 'e')),
          checkApprovals(batch.filter(({ call }) => call.awaits?.eventType === APPROVAL_EVENT)),
          checkRuns(batch.filter(({ call }) => call.kind === 'w')),
        ]);
        for (const { call } of taken) call.looks -= 1;
      } catch (error) {
        // the wait rows are committed: the next notification or repair looks again
        core.log({ level: 'warn', message: 'looking for awaited events failed; trying again', error: (error as Error).message });
        await new Promise((resolve) => setTimeout(resolve, 500));
        if (!core.closed) queued.push(...taken);
      }
    }
    checking = false;
  }

  async function checkEvents(checks: readonly Check[]): Promise<void> {
    if (checks.length === 0) return;
    const { rows } = await core.store.query<{ i: number; event_id: string; payload: string | null }>(
      `select u.i, e.event_id, e.payload
       from unnest($1::int[], $2::text[], $3::text[], $4::int[]) u(i, event_type, correlation_id, skip)
       cross join lateral (
         select event_id, payload from workflow_events e
         where e.correlation_id = u.correlation_id and e.event_type = u.event_type
         order by event_id limit u.skip + 1) e
       order by u.i, e.event_id`,
      [
        int4Array(checks.map((_, i) => i)),
        textArray(checks.map(({ call }) => call.awaits?.eventType ?? '')),
        textArray(checks.map(({ call }) => call.awaits?.correlationId ?? '')),
        int4Array(checks.map(({ frame, call }) => consumed(frame, call).size)),
      ],
    );
    for (const row of rows) {
      const { frame, call } = checks[row.i] as Check;
      const used = consumed(frame, call);
      if (frame.closed || call.settling || used.has(row.event_id)) continue;
      used.add(row.event_id);
      frame.settle(call, {
        status: 'o',
        outcome: row.payload,
        attempts: 1,
        detail: JSON.stringify({ ...(fromJson(call.detail) as object), event_id: row.event_id }),
      });
    }
  }

  async function checkApprovals(checks: readonly Check[]): Promise<void> {
    if (checks.length === 0) return;
    const { rows } = await core.store.query<{ correlation_id: string; payload: string | null }>(
      `select e.correlation_id, e.payload from unnest($1::text[]) u(id)
       join workflow_events e on ${lookUp('e.correlation_id', 'u.id')} and e.event_type = '${APPROVAL_EVENT}'
       order by e.event_id`,
      [textArray([...new Set(checks.map(({ call }) => call.awaits?.correlationId ?? ''))])],
    );
    // the latest counts: what was approved may have been withdrawn
    const told = new Map(rows.map((row) => [row.correlation_id, row.payload]));
    for (const { frame, call } of checks) {
      const payload = told.get(call.awaits?.correlationId ?? '');
      const { onEvent } = call;
      if (payload === undefined || onEvent === undefined || frame.closed || call.settling) continue;
      call.awaits = undefined;
      call.onEvent = undefined;
      call.onDue = undefined;
      call.wakeAt = null;
      onEvent(payload);
    }
  }

  async function checkRuns(checks: readonly Check[]): Promise<void> {
    if (checks.length === 0) return;
    const ids = [...new Set(checks.map(({ call }) => call.awaits?.correlationId ?? ''))];
    const { rows } = await core.store.query<{ run_id: string; status: string | null; result: string | null; error: string | null }>(
      `select run_id, status::text, result, error from workflow_runs_finished where run_id = any($1::uuid[])
       union all select run_id, null, null, null from workflow_runs where run_id = any($1::uuid[])`,
      [uuidArray(ids)],
    );
    // a run that ends just now may be in both tables: then it has ended
    const found = new Map<string, (typeof rows)[number]>();
    for (const row of rows) if (row.status !== null || !found.has(row.run_id)) found.set(row.run_id, row);
    for (const { frame, call } of checks) {
      const id = call.awaits?.correlationId;
      const ended = found.get(id ?? '');
      if (frame.closed || call.settling || ended?.status === null) continue;
      frame.settle(call, { ...childOutcome(id ?? '', ended), attempts: 1, detail: call.detail });
    }
  }

  function checkFrame(frame: Frame): void {
    // it is just being evicted: its park sees this when it has committed
    if (frame.closed) frame.nudged = true;
    for (const call of frame.calls.values()) if (call.awaits !== undefined && call.registered && !call.settling) checkWait(frame, call);
  }

  async function wake(pairs: readonly { eventType: string; correlationId: string }[]): Promise<number> {
    if (pairs.length === 0) return 0;
    const { rows } = await core.store.query<{ run_id: string; owner: number | null; woken: number }>(
      `with hit as (
         select distinct w.run_id
         from unnest($1::text[], $2::text[]) u(event_type, correlation_id)
         join workflow_waits w on ${lookUp('w.correlation_id', 'u.correlation_id')} and w.event_type = u.event_type),
       woken as (
         update workflow_runs r set status = 's', wake_at = greatest(now(), r.held_until) from hit
         where ${lookUp('r.run_id', 'hit.run_id')} and r.status::text in ('s', 'w') returning r.run_id),
       told as (
         select r.run_id, r.owner from workflow_runs r join hit on ${lookUp('r.run_id', 'hit.run_id')} where coalesce(r.owner, 0) <> 0),
       note as (select pg_notify('centaur_worker_' || owner, run_id::text) from told where owner is distinct from $3::int),
       hint as (select pg_notify('centaur_work', '') where exists (select from woken))
       select run_id, owner, (select count(*) from note) + (select count(*) from hint) as told, (select count(*) from woken) as woken from told
       union all select null, null, (select count(*) from note) + (select count(*) from hint), (select count(*) from woken)`,
      [textArray(pairs.map((pair) => pair.eventType)), textArray(pairs.map((pair) => pair.correlationId)), core.workerId],
    );
    for (const row of rows) if (row.run_id !== null && row.owner === core.workerId) await nudge(row.run_id);
    const woken = rows[0]?.woken ?? 0;
    if (woken > 0) core.kick();
    return woken;
  }

  /** Someone emitted for a run that this worker holds, or held a moment ago. */
  async function nudge(runId: string): Promise<void> {
    const frame = core.frames.get(runId);
    if (frame === undefined) await wakeRuns(core, [runId]);
    else checkFrame(frame);
  }

  async function emit(request: EmitRequest): Promise<EmittedEvent> {
    checkEventName(request.event_type, request.correlation_id);
    const { eventId, idempotent } = await storeEvent(core, request);
    // also of a known one: whoever sent it may have died before this
    const pair = { eventType: request.event_type, correlationId: request.correlation_id };
    const woken = await wake([pair]).catch((error: Error) => {
      // the event is stored: a repair wakes its runs
      core.log({ level: 'warn', message: 'an event is stored, but its runs are woken later', error: error.message });
      return 0;
    });
    return { event_id: eventId, event_type: request.event_type, correlation_id: request.correlation_id, runs_woken: woken, idempotent };
  }

  /** Parked waits whose event, past those the run has used, or whose run's end is there. Paged, so that many waits cost little each time. */
  let cursor = FIRST_ID;
  async function repair(all?: 'all'): Promise<void> {
    if (all !== undefined) cursor = FIRST_ID;
    await repairFrom(all);
  }

  async function repairFrom(all: 'all' | undefined): Promise<void> {
    // of a run that was cancelled while they were on their way, by a worker that then died
    await core.store.query(
      `delete from workflow_waits w using (select run_id, seq from workflow_waits where run_id > $1 order by run_id limit 500) p
       where w.run_id = p.run_id and w.seq = p.seq and not exists (select from workflow_runs r where r.run_id = w.run_id)`,
      [cursor],
    );
    const { rows } = await core.store.query<{ run_id: string; hit: boolean }>(
      `select w.run_id, case when w.event_type = '$run'
           then exists (select from workflow_runs_finished f where f.run_id = case when w.event_type = '$run' then w.correlation_id::uuid end)
             or not exists (select from workflow_runs c where c.run_id = case when w.event_type = '$run' then w.correlation_id::uuid end)
           else (select count(*) from workflow_events e where e.correlation_id = w.correlation_id and e.event_type = w.event_type) >
             (select count(*) from workflow_steps s where s.run_id = w.run_id and s.kind = 'e' and s.status = 'o'
                and s.detail->>'event_type' = w.event_type and s.detail->>'correlation_id' = w.correlation_id)
         end as hit
       from (select * from workflow_waits where run_id > $1 order by run_id limit 500) w
       join workflow_runs r on r.run_id = w.run_id and r.status in ('s', 'w')
         and exists (select from workflow_steps p where p.run_id = w.run_id and p.seq = w.seq and p.status = 'p')
       order by w.run_id`,
      [cursor],
    );
    cursor = rows.at(-1)?.run_id ?? FIRST_ID;
    if (rows.length === 0) return;
    const hit = rows.filter((row) => row.hit).map((row) => row.run_id);
    if (hit.length > 0) await wakeRuns(core, hit);
    // where one was forgotten there may be more: then the next page is not left for later
    if ((hit.length > 0 || all !== undefined) && !core.closed) await repairFrom(all);
  }

  return { checkWait, nudge, wake, emit, repair };
}

/** Makes parked runs due: now, or once they are no longer held back. */
export async function wakeRuns(core: Core, runIds: readonly string[]): Promise<void> {
  const { rowCount } = await core.store.query(
    `update workflow_runs set status = 's', wake_at = greatest(now(), held_until) where run_id = any($1::uuid[]) and status in ('s', 'w') returning 1`,
    [uuidArray(runIds)],
  );
  if (rowCount > 0) core.kick();
}

/** The events that this call's pair has already given to the run, from its history at first. */
function consumed(frame: Frame, call: Call): Set<string> {
  if (frame.consumed === undefined) {
    frame.consumed = new Map();
    for (const row of frame.history) {
      if (row?.kind !== 'e' || row.status !== 'o' || row.detail === null) continue;
      const detail = JSON.parse(row.detail) as { event_type: string; correlation_id: string; event_id: string };
      used(frame.consumed, detail.event_type, detail.correlation_id).add(detail.event_id);
    }
  }
  return used(frame.consumed, call.awaits?.eventType ?? '', call.awaits?.correlationId ?? '');
}

function used(byPair: Map<string, Set<string>>, eventType: string, correlationId: string): Set<string> {
  const pair = `${eventType}\0${correlationId}`;
  let set = byPair.get(pair);
  if (set === undefined) byPair.set(pair, (set = new Set()));
  return set;
}

function childOutcome(
  runId: string,
  ended: { status: string | null; result: string | null; error: string | null } | undefined,
): { status: string; outcome: string | null } {
  if (ended?.status === 'c') return { status: 'o', outcome: ended.result };
  const child = ended === undefined ? null : (fromJson(ended.error) as StoredError | null);
  const [code, message] =
    ended === undefined
      ? ['CHILD_MISSING', `run ${runId} does not exist`]
      : ended.status === 'n'
        ? ['CHILD_CANCELLED', `run ${runId} was cancelled`]
        : ['CHILD_FAILED', `run ${runId} failed: ${child?.message ?? 'without a message'}`];
  return {
    status: 'e',
    outcome: JSON.stringify({ code, message, child: child === null ? null : { code: child.code, message: child.message } }),
  };
}
