/**
 * Deleting what is of a thread or of a person, a batch at a time.
 *
 * Each batch is a transaction that finds no hold and no live turn, under the lock of the thread's row: so nothing is deleted
 * under a turn, and nobody waits long. What tells whose a thread is, and which runs belong to it, is deleted last, and of runs
 * those that others lead to before those: so whoever goes on after a crash finds the rest.
 *
 * Entries of the audit log stay, with names and keys in them, and verify; what is private in them goes with its key.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type AuditLog, erasePrivate } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { disableUser, lockUser, refuseLastAdmin, UserError, type UserRow } from '../users/index.ts';
import { principalOfThread, removeSecretIn } from '../vault/index.ts';
import { CareError } from './errors.ts';
import { refuseHeld, refuseHeldParts } from './holds.ts';
import { namesOf, principalsOf } from './names.ts';
import { has } from './schema.ts';
import type { Subject } from './subject.ts';

export interface EraseParts {
  readonly store: Store;
  readonly audit: AuditLog;
  /** Whoever asked for it. */
  readonly actor: string;
  /** Called in the transaction that deleted so many; nothing of it is kept when that fails. */
  readonly count: (tx: Queryable, what: string, rows: number) => Promise<void>;
  /** Called in each batch of a thread, before it: throws when it is not to go after all. */
  readonly check?: ((tx: Queryable) => Promise<void>) | undefined;
}

const BATCH = 500;
/** Rows that may be large. */
const FEW = 20;

/** Every run that a turn of the threads was, or that asked for one, or that one of these started, or is a fork of. `$1` are their keys. */
export const RUNS_OF_THREADS = `select run_id from runs_under(array(
    select run_id from agent_execution_requests where thread_key = any($1::text[]) and run_id is not null
    union select asked_by from agent_execution_requests where thread_key = any($1::text[]) and asked_by is not null))`;

/** The same of turns. `$1` are the executions. */
const RUNS_OF_TURNS = `select run_id from runs_under(array(
    select run_id from agent_execution_requests where execution_id = any($1::uuid[]) and run_id is not null
    union select asked_by from agent_execution_requests where execution_id = any($1::uuid[]) and asked_by is not null))`;

/** All rows of a thread but one, by which it is found to be somebody's. */
const butOne = (table: string): string =>
  `delete from ${table} where ctid = any(array(select ctid from ${table} where thread_key = $1
     and position <> (select position from ${table} where thread_key = $1 order by user_id is null, position limit 1) limit $2))`;

/** In this order. `$1` is the thread's key, `$2` how many at a time. */
const OF_THREAD: readonly { readonly what: string; readonly sql: string; readonly batch: number }[] = [
  ...['agent_execution_events', 'agent_requests', 'agent_runtime_assignments', 'agent_final_delivery_outbox'].map((table) => ({
    what: table,
    sql: `delete from ${table} where ctid = any(array(select ctid from ${table} where thread_key = $1 limit $2))`,
    batch: BATCH,
  })),
  ...['agent_message_requests', 'agent_execution_signals'].map((table) => ({ what: table, sql: butOne(table), batch: BATCH })),
  ...['attachments', 'session_snapshots'].map((table) => ({
    what: table,
    sql: `delete from ${table} where ctid = any(array(select ctid from ${table} where thread_key = $1 limit $2))`,
    batch: FEW,
  })),
  {
    what: 'agent_inbox',
    sql: 'delete from agent_inbox where ctid = any(array(select ctid from agent_inbox where conversation = $1 limit $2))',
    batch: BATCH,
  },
  {
    what: 'leases',
    sql: 'delete from leases where ctid = any(array(select ctid from leases where thread_key = $1 limit $2))',
    batch: BATCH,
  },
];

const ERASED = `'{"erased": true}'`;

/**
 * Questions to people, and what was said to them. One that is not over ends: nobody can see any more what it asks, who has a part
 * in it, or what a person changed in it.
 */
const questions = (which: string): readonly (readonly [needs: string, sql: string])[] => [
  // what its run was told; one that is alive is in the way of an erasure
  [
    'workflow_events',
    `delete from workflow_events e using approvals a where a.${which} and e.event_type = '$approval' and e.correlation_id = a.approval_id::text`,
  ],
  [
    'approval_votes',
    `update approval_votes v set reason = null, sticky = null from approvals a where a.approval_id = v.approval_id and a.${which}
       and (v.reason is not null or v.sticky is not null)`,
  ],
  [
    'approvals.args',
    `update approvals set summary = ${ERASED}, reason = null, args = null, edited_args = null, subject = null, people = '{}',
       state = case when state in ('pending', 'approved') then 'cancelled' else state end, version = version + 1
     where ${which} and (summary::text <> ${ERASED} or reason is not null or people::text <> '{}' or state in ('pending', 'approved'))`,
  ],
  // after the questions: whoever notes where a card is waits for their rows, and then finds them erased. Where the bot has still to write
  // over a card, it has to know where that is: the note goes once it has
  [
    'chat_notices.places',
    `update chat_notices n set places = '[]', ref = case when n.settled_at > now() - interval '1 hour' then n.ref end,
       settled_at = case when n.settled_at > now() - interval '1 hour' then 'infinity' else n.settled_at end
     from approvals a where a.approval_id = n.approval_id and a.${which} and (n.ref is not null or n.places <> '[]')`,
  ],
];

/** The same where a release has them. */
const MORE_OF_THREAD: readonly (readonly [needs: string, sql: string])[] = [
  ['usage', 'delete from usage where thread_key = $1'],
  ['usage_days', `delete from usage_days where dimension = 'thread' and key = $1`],
  ...questions('thread_key = $1'),
  ['approval_grants', 'delete from approval_grants where thread_key = $1'],
  ['tool_call_leases', 'delete from tool_call_leases where thread_key = $1'],
];

/** Of runs, where a release has them. `$1` are their ids. */
const MORE_OF_RUNS: readonly (readonly [needs: string, sql: string])[] = [
  ...questions('run_id = any($1::uuid[])'),
  ['approval_grants', 'delete from approval_grants where run_id = any($1::uuid[])'],
  ['run_askers', 'delete from run_askers where run_id = any($1::uuid[])'],
  // before the events: what was sent can be guessed from a hash
  [
    'workflow_event_keys',
    'delete from workflow_event_keys k using workflow_events e where e.correlation_id = any($1::uuid[]::text[]) and k.event_id = e.event_id',
  ],
  ['journal_seals', 'delete from journal_seals where run_id = any($1::uuid[])'],
  ['workflow_takeovers', 'delete from workflow_takeovers where run_id = any($1::uuid[])'],
];

/** Of a principal, where a release has them. `$1` is the principal. */
const MORE_OF_PRINCIPAL: readonly (readonly [needs: string, sql: string])[] = [
  ...questions('principal = $1'),
  ['approval_grants', 'delete from approval_grants where principal = $1'],
  ['tool_call_leases', 'delete from tool_call_leases where principal = $1 or on_behalf_of = $1'],
  ['leases.besides', 'delete from leases where besides @> array[$1::text]'],
];

/**
 * Of a person, where a release has them. `$1` is the name. The name itself is given to nobody else, since the log has it: so the user's
 * row stays, with nothing but the name, and nobody signs in as it any more.
 */
const MORE_OF_PERSON: readonly (readonly [needs: string, sql: string])[] = [
  ['user_sessions', 'delete from user_sessions s using users u where u.user_id = s.user_id and u.name = $1'],
  ['chat_link_codes', 'delete from chat_link_codes c using users u where u.user_id = c.user_id and u.name = $1'],
  ['user_identities', 'delete from user_identities i using users u where u.user_id = i.user_id and u.name = $1'],
  [
    'users',
    `update users set display_name = name, email = null, password_hash = null, disabled_at = coalesce(disabled_at, now()), updated_at = now()
     where name = $1 and (email is not null or password_hash is not null or disabled_at is null or display_name <> name)`,
  ],
  // how they voted stays, as in the log; what they said with it goes
  [
    'approval_votes',
    'update approval_votes set reason = null, sticky = null where voter = $1 and (reason is not null or sticky is not null)',
  ],
  ['approvals', `update approvals set reason = null where decided_by = 'user:' || $1 and reason is not null`],
  [
    'workflow_events',
    `update workflow_events e set payload = jsonb_set(e.payload::jsonb, '{reason}', 'null')::json from approvals a
     where a.decided_by = 'user:' || $1 and e.event_type = '$approval' and e.correlation_id = a.approval_id::text and e.payload ->> 'reason' is not null`,
  ],
  ['approval_grants', `update approval_grants set reason = null where granted_by = 'user:' || $1 and reason is not null`],
  ['policy_drafts', `update policy_drafts set message = null where author = 'user:' || $1 and message is not null`],
  ['run_askers', `delete from run_askers where actor = 'user:' || $1`],
];

/** By any of their names. `$1` are those. */
const MORE_OF_NAMES: readonly (readonly [needs: string, sql: string])[] = [
  ['leases.account', 'update leases set account = null, user_name = null where account = any($1::text[]) or user_name = any($1::text[])'],
  ['usage', 'update usage set user_id = null where user_id = any($1::text[])'],
  ['usage_days', `delete from usage_days where dimension = 'user' and key = any($1::text[])`],
];

/** What tells by which names. `$1` is the person's. */
const LINKS_OF_PERSON: readonly (readonly [needs: string, sql: string])[] = ['chat_links', 'chat_former_links'].map((table) => [
  table,
  `delete from ${table} l using users u where u.user_id = l.user_id and u.name = $1`,
]);

/** Once nothing of it is left, its row goes; a turn or message that came meanwhile is deleted in the next round. */
export async function eraseThread(parts: EraseParts, subject: Extract<Subject, { kind: 'thread' }>): Promise<void> {
  const { store, count, check } = parts;
  const { key } = subject;
  for (;;) {
    await eraseRuns(parts, subject);
    for (const { what, sql, batch } of OF_THREAD)
      await untilNone(() =>
        guarded({ store, check }, subject, key, async (tx) => counted(tx, count, what, await tx.query(sql, [key, batch]))),
      );
    await guarded({ store, check }, subject, key, (tx) => more(tx, count, MORE_OF_THREAD, key));
    await erasePrincipal(parts, subject, principalOfThread(key));
    await guarded({ store, check }, subject, key, async (tx) => eraseNotes(tx, count, key));
    const done = await guarded({ store, check }, subject, key, async (tx) => {
      const { rows } = await tx.query<{ left: boolean }>(
        `select exists (select from agent_message_requests where thread_key = $1 offset 1) or exists (select from agent_execution_events where thread_key = $1)
           or exists (select from attachments where thread_key = $1)
           or exists (select from workflow_runs where run_id in (${RUNS_OF_THREADS.replaceAll('$1', '$2')}))
           or exists (select from workflow_runs_finished where run_id in (${RUNS_OF_THREADS.replaceAll('$1', '$2')})) as left`,
        [key, [key]],
      );
      if (rows[0]?.left === true) return false;
      // of `sandbox_sessions`, too: its sandbox is one that no thread knows, whoever keeps it ends it, with its workspace
      for (const table of ['agent_message_requests', 'agent_execution_signals', 'agent_execution_requests', 'sandbox_sessions'])
        await counted(tx, count, table, await tx.query(`delete from ${table} where thread_key = $1`, [key]));
      // of a person's own thread nobody would know any more that its key is to go
      await erasePrivate(tx, parts.audit, parts.actor, subject.text);
      return true;
    });
    if (done) return;
  }
}

/** Somebody else's hold, in one of the threads or on a run that it keeps through another one. @throws CareError HELD */
export async function refuseHeldIn(tx: Queryable, own: readonly string[], shared: readonly string[] = []): Promise<void> {
  const { rows } = await tx.query<{ run_id: string }>(RUNS_OF_THREADS, [own]);
  await refuseHeldParts(tx, { threads: [...own, ...shared], runs: rows.map(({ run_id }) => run_id) });
}

/** @throws CareError TURN_LIVE for a run that has not ended */
async function eraseRuns(parts: EraseParts, subject: Extract<Subject, { kind: 'thread' }>): Promise<void> {
  await eraseTree(parts, subject, subject.key, RUNS_OF_THREADS, [subject.key]);
}

/**
 * The runs that a statement leads to. Nothing in it is live when some of it is deleted, so it does not grow; and what other runs of it
 * are found by stays until those are gone.
 */
async function eraseTree(parts: EraseParts, subject: Subject, key: string, tree: string, of: readonly string[]): Promise<void> {
  const { store, check } = parts;
  await untilNone(() =>
    afterRuns(() =>
      guarded({ store, check }, subject, key, async (tx) => {
        const leaves = async (among: readonly string[] | null): Promise<string[]> => {
          const { rows } = await tx.query<{ run_id: string }>(
            `with those as materialized (select f.run_id, f.parent_run_id, f.seed from workflow_runs_finished f where f.run_id in (${tree}))
             select t.run_id from those t where not exists (select from those c where c.parent_run_id = t.run_id)
               and not exists (select from those c where c.seed = t.run_id and c.run_id <> t.run_id)
               and ($2::uuid[] is null or t.run_id = any($2)) limit $3`,
            [of, among, BATCH],
          );
          return rows.map(({ run_id }) => run_id);
        };
        // whoever forks or retries one holds its row: what they made of it is seen below, and nothing more is made
        const found = await leaves(null);
        await tx.query('select 1 from workflow_runs_finished where run_id = any($1::uuid[]) for update', [found]);
        const { rows: alive } = await tx.query<{ run_id: string }>(`select run_id from workflow_runs where run_id in (${tree}) limit 10`, [
          of,
        ]);
        if (alive.length > 0)
          throw live(
            key,
            alive.map(({ run_id }) => run_id),
            'runs',
          );
        if (found.length === 0) return 0;
        await deleteRuns(tx, parts, subject, await leaves(found));
        return found.length;
      }),
    ),
  );
  // of runs that retention has taken, something is left
  await guarded({ store, check }, subject, key, async (tx) => {
    const { rows } = await tx.query<{ run_id: string }>(tree, [of]);
    const runs = rows.map(({ run_id }) => run_id);
    await refuseHeldParts(tx, { runs });
    await deleteBeside(tx, parts, runs);
  });
}

/** @throws CareError HELD */
async function deleteRuns(tx: Queryable, parts: EraseParts, subject: Subject, ids: readonly string[]): Promise<void> {
  const { audit, actor, count } = parts;
  if (ids.length === 0) return;
  await refuseHeldParts(tx, { runs: ids });
  // the sealer must not add a seal of what it has read just before; it passes over a cursor that is locked
  if (await has(tx, 'journal_cursor')) await tx.query('select 1 from journal_cursor for share');
  // whoever verifies the journals is told why these are not there
  await audit.append(tx, { action: 'data.erase_runs', actor, resource: subject.text, details: { runs: ids } });
  await counted(
    tx,
    count,
    'workflow_triggers',
    await tx.query(
      `delete from workflow_triggers t using workflow_runs_finished f where f.run_id = any($1::uuid[])
         and t.workflow_name = f.workflow_name and t.trigger_key = f.trigger_key and t.run_id = f.run_id`,
      [ids],
    ),
  );
  await deleteBeside(tx, parts, ids);
  await counted(
    tx,
    count,
    'workflow_runs_finished',
    await tx.query('delete from workflow_runs_finished where run_id = any($1::uuid[])', [ids]),
  );
}

/** What there is of runs beside their rows. */
async function deleteBeside(tx: Queryable, { count }: EraseParts, ids: readonly string[]): Promise<void> {
  const statements: readonly (readonly [what: string, sql: string])[] = [
    ['workflow_steps', 'delete from workflow_steps where run_id = any($1::uuid[])'],
    ['workflow_attempts', 'delete from workflow_attempts where run_id = any($1::uuid[])'],
    ['workflow_events', 'delete from workflow_events where correlation_id = any($1::uuid[]::text[])'],
    ['webhook_deliveries', 'delete from webhook_deliveries where run_id = any($1::uuid[])'],
    ['leases', 'delete from leases where run_id = any($1::uuid[])'],
  ];
  await more(tx, count, MORE_OF_RUNS, ids);
  for (const [what, sql] of statements) await counted(tx, count, what, await tx.query(sql, [ids]));
}

/** What a principal has beside threads: calls, questions, grants. */
async function erasePrincipal({ store, audit, actor, count, check }: EraseParts, subject: Subject, principal: string): Promise<void> {
  await store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    await check?.(tx);
    await counted(
      tx,
      count,
      'tool_calls',
      await tx.query(
        `delete from tool_calls where principal = $1 or split_part(principal, ' ', 1) = $1 or split_part(principal, ' ', 2) = $1`,
        [principal],
      ),
    );
    const { rows } = await tx.query('select 1 from grants where principal = $1 and revoked_at is null limit 1', [principal]);
    if (rows.length > 0) {
      const auditId = await audit.append(tx, { action: 'grant.remove', actor, resource: principal, details: { because: 'erasure' } });
      await counted(
        tx,
        count,
        'grants',
        await tx.query('update grants set revoked_at = now(), revoked_audit_id = $2 where principal = $1 and revoked_at is null', [
          principal,
          auditId,
        ]),
      );
    }
    await counted(tx, count, 'principal_roles', await tx.query('delete from principal_roles where principal = $1', [principal]));
    await counted(tx, count, 'leases', await tx.query('delete from leases where principal = $1 or on_behalf_of = $1', [principal]));
    await more(tx, count, MORE_OF_PRINCIPAL, principal);
    await tx.query(`select pg_notify('centaur_firewall', '')`);
  });
}

/** The memory tool's, where it keeps them in this database; in another one they are out of reach. */
async function eraseNotes(tx: Queryable, count: EraseParts['count'], key: string): Promise<void> {
  const { rows } = await tx.query<{ there: boolean }>(`select to_regclass('centaur_memory.notes') is not null as there`);
  if (rows[0]?.there === true)
    await counted(tx, count, 'centaur_memory.notes', await tx.query('delete from centaur_memory.notes where thread_key = $1', [key]));
}

/** As text: Postgres takes no field out of a JSON text with a zero byte anywhere in it. No string in it can look like this. */
const OF_PERSON = (names: string): string =>
  `exists (select from unnest(${names}::text[]) n(name) where strpos(event_json::text, '"user_id":' || to_json(n.name)::text) > 0)`;

/** That somebody else than the person has a word in a thread. */
const sharedWith = (key: string, names: string): string =>
  `(exists (select from agent_message_requests m where m.thread_key = ${key} and m.role = 'user' and (m.user_id = any(${names}::text[])) is not true)
     or exists (select from agent_execution_signals s where s.thread_key = ${key} and (s.user_id = any(${names}::text[])) is not true))`;

/** Threads in which nobody else has a word; and those in which somebody has. */
export async function threadsOf(
  on: Queryable,
  names: readonly string[],
): Promise<{ readonly own: readonly string[]; readonly shared: readonly string[] }> {
  const { rows } = await on.query<{ thread_key: string; shared: boolean }>(
    `with mine as (
       select thread_key from agent_message_requests where user_id = any($1::text[])
       union select thread_key from agent_execution_requests where user_id = any($1::text[])
       union select thread_key from agent_execution_signals where user_id = any($1::text[]))
     select t.thread_key, ${sharedWith('t.thread_key', '$1')} as shared from mine t order by 1`,
    [names],
  );
  return {
    own: rows.filter(({ shared }) => !shared).map(({ thread_key }) => thread_key),
    shared: rows.filter(({ shared }) => shared).map(({ thread_key }) => thread_key),
  };
}

/** Turns in which the person has a word. `$1` is the thread's key, `$2` the names. */
const TURNS_OF_PERSON = `select e.execution_id from agent_execution_requests e where e.thread_key = $1 and (e.user_id = any($2::text[])
  or exists (select from agent_message_requests m where m.thread_key = e.thread_key and m.delivered_execution_id = e.execution_id and m.user_id = any($2::text[]))
  or exists (select from agent_execution_signals s where s.thread_key = e.thread_key and s.execution_id = e.execution_id and s.user_id = any($2::text[])))`;

/**
 * In a thread of several: what the person said, and all of the turns in which they had a word, is emptied. The rows stay, since
 * messages and events of a thread are numbered without gaps. The agent's own memory of the conversation goes as a whole.
 */
async function eraseWords(parts: EraseParts, subject: Subject, key: string, names: readonly string[]): Promise<void> {
  while (!(await emptyWords(parts, subject, key, names)));
}

/** @returns whether nothing came meanwhile */
async function emptyWords(parts: EraseParts, subject: Subject, key: string, names: readonly string[]): Promise<boolean> {
  const { store, count } = parts;
  const { rows: turns } = await store.query<{ execution_id: string }>(TURNS_OF_PERSON, [key, names]);
  const ids = turns.map(({ execution_id }) => execution_id);
  const emptied: readonly (readonly [what: string, sql: string, params: readonly unknown[]])[] = [
    [
      'agent_execution_events',
      `update agent_execution_events set event_json = ${ERASED} where (thread_key, event_id) in (
         select thread_key, event_id from agent_execution_events where thread_key = $1 and event_json::text <> ${ERASED}
           and (execution_id = any($2::uuid[]) or ${OF_PERSON('$3')}) limit $4)`,
      [key, ids, names, BATCH],
    ],
    [
      'attachments',
      `delete from attachments a where ctid = any(array(select a.ctid from attachments a where a.thread_key = $1 and (a.execution_id = any($2::uuid[])
         or a.message_id in (select m.message_id from agent_message_requests m where m.thread_key = $1 and m.user_id = any($3::text[]))) limit $4))`,
      [key, ids, names, FEW],
    ],
    ['session_snapshots', 'delete from session_snapshots where thread_key = $1', [key]],
    // nobody can tell whose words these are
    [
      'agent_inbox',
      `update agent_inbox set body = null, last_error = null where conversation = $1 and state = 'dead_letter' and body is not null`,
      [key],
    ],
    [
      'agent_final_delivery_outbox',
      `update agent_final_delivery_outbox set final_payload = ${ERASED}, delivery = ${ERASED}, last_error = null,
         state = case when state in ('delivered', 'dead_letter') then state else 'dead_letter' end
       where thread_key = $1 and execution_id = any($2::uuid[]) and final_payload::text <> ${ERASED}`,
      [key, ids],
    ],
  ];
  await eraseTree(parts, subject, key, RUNS_OF_TURNS, ids);
  await guarded({ store }, subject, key, (tx) =>
    tx.query(
      `update sandbox_sessions set state = 'idle', sandbox_id = null, host = null, agent_thread_id = null, log_offset = 0, title = null where thread_key = $1`,
      [key],
    ),
  );
  for (const [what, sql, params] of emptied)
    await untilNone(() => guarded({ store }, subject, key, async (tx) => counted(tx, count, what, await tx.query(sql, params))));
  // last: they tell what is the person's
  return guarded({ store }, subject, key, async (tx) => {
    const { rows } = await tx.query<{ more: boolean }>(
      `select exists (${TURNS_OF_PERSON} and e.execution_id <> all($3::uuid[]))
         or exists (select from agent_execution_events where thread_key = $1 and event_json::text <> ${ERASED} and ${OF_PERSON('$2')}) as more`,
      [key, names, ids],
    );
    if (rows[0]?.more === true) return false;
    await counted(
      tx,
      count,
      'agent_execution_requests',
      await tx.query(
        `update agent_execution_requests set user_id = null, metadata = '{}', delivery = ${ERASED}, result_text = null, result_json = null, error_text = null,
           request_hash = '' where thread_key = $1 and execution_id = any($2::uuid[])`,
        [key, ids],
      ),
    );
    await counted(
      tx,
      count,
      'agent_message_requests',
      await tx.query(
        `update agent_message_requests set parts = '[{"type": "text", "text": "(erased)"}]', user_id = null, metadata = null, request_hash = ''
         where thread_key = $1 and user_id = any($2::text[])`,
        [key, names],
      ),
    );
    await counted(
      tx,
      count,
      'agent_execution_signals',
      await tx.query('delete from agent_execution_signals where thread_key = $1 and user_id = any($2::text[])', [key, names]),
    );
    return true;
  });
}

/** The user of that name, where there is one. @throws CareError LAST_ADMIN */
export async function refuseLastAdminOf(tx: Queryable, name: string): Promise<UserRow | undefined> {
  if (!(await has(tx, 'users'))) return undefined;
  try {
    const user = await lockUser(tx, name);
    await refuseLastAdmin(tx, user, 'disabled');
    return user;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (error.code === 'USER_NOT_FOUND') return undefined;
    throw new CareError('LAST_ADMIN', error.message);
  }
}

export async function erasePerson(parts: EraseParts, subject: Extract<Subject, { kind: 'user' }>): Promise<void> {
  const { store, audit, actor, count } = parts;
  // first: whoever may not go is not erased by halves
  await store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    const user = await refuseLastAdminOf(tx, subject.name);
    if (user !== undefined) await disableUser(tx, audit, actor, user, new Date(store.now()));
  });
  const names = await namesOf(store, subject.name);
  const { own, shared } = await threadsOf(store, names);
  for (const key of own)
    await eraseThread({ ...parts, check: (tx) => refuseShared(tx, key, names) }, { kind: 'thread', key, text: `thread:${key}` });
  for (const key of shared) await eraseWords(parts, subject, key, names);
  await store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    const { rows } = await tx.query<{ secret: string }>(
      `select distinct c.secret from oauth_connections c join secrets s on s.name = c.secret and s.removed_at is null where c.user_name = $1`,
      [subject.name],
    );
    for (const { secret } of rows) await removeSecretIn(tx, audit, actor, secret);
    await counted(tx, count, 'oauth_connections', await tx.query('delete from oauth_connections where user_name = $1', [subject.name]));
    await more(tx, count, MORE_OF_PERSON, subject.name);
    await more(tx, count, MORE_OF_NAMES, names);
  });
  for (const principal of principalsOf(names)) await erasePrincipal(parts, subject, principal);
  await store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    await more(tx, count, LINKS_OF_PERSON, subject.name);
    await erasePrivate(tx, audit, actor, subject.text);
  });
}

/** Whoever said something in it since it was found to be one person's keeps that: the job looks again. @throws CareError TURN_LIVE */
async function refuseShared(tx: Queryable, key: string, names: readonly string[]): Promise<void> {
  const { rows } = await tx.query<{ shared: boolean }>(`select ${sharedWith('$1', '$2')} as shared`, [key, names]);
  if (rows[0]?.shared === true)
    throw new CareError('TURN_LIVE', `somebody else has said something in the thread ${JSON.stringify(key)} meanwhile`);
}

/** A transaction that holds the thread's row, and in which neither a hold nor a live turn is in the way. */
async function guarded<T>(
  { store, check }: Pick<EraseParts, 'store' | 'check'>,
  subject: Subject,
  key: string,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  return store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    await refuseHeldParts(tx, { threads: [key] });
    // whoever accepts a message or a turn holds this row
    await tx.query('select 1 from sandbox_sessions where thread_key = $1 for update', [key]);
    await check?.(tx);
    const { rows } = await tx.query<{ execution_id: string }>(
      'select execution_id from agent_execution_requests where thread_key = $1 and completed_at is null limit 10',
      [key],
    );
    if (rows.length > 0)
      throw live(
        key,
        rows.map(({ execution_id }) => execution_id),
      );
    return work(tx);
  });
}

function live(key: string, ids: readonly string[], what: 'turns' | 'runs' = 'turns'): CareError {
  return new CareError(
    'TURN_LIVE',
    `${what} of the thread ${JSON.stringify(key)} have not ended (${ids.join(', ')}): cancel them, or wait for their end`,
    {
      thread_key: key,
      [what]: ids,
    },
  );
}

const RUN_TRIES = 10;
const RUN_PAUSE_MS = 500;

/** A turn tells its end a moment before the run that it is has ended. */
async function afterRuns<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const isRun = error instanceof CareError && error.code === 'TURN_LIVE' && 'runs' in (error.details as object);
      if (!isRun || tries === RUN_TRIES) throw error;
      await pause(RUN_PAUSE_MS);
    }
  }
}

async function counted(
  tx: Queryable,
  count: EraseParts['count'],
  what: string,
  { rowCount }: { readonly rowCount: number },
): Promise<number> {
  if (rowCount > 0) await count(tx, what, rowCount);
  return rowCount;
}

async function more(
  tx: Queryable,
  count: EraseParts['count'],
  statements: readonly (readonly [needs: string, sql: string])[],
  of: string | readonly string[],
): Promise<void> {
  for (const [needs, sql] of statements)
    if (await has(tx, needs)) await counted(tx, count, needs.split('.')[0] as string, await tx.query(sql, [of]));
}

async function untilNone(step: () => Promise<number>): Promise<void> {
  while ((await step()) > 0);
}
