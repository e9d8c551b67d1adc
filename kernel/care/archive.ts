/**
 * Everything that is stored of a thread or of a person, as lines of JSON: what a file of the archive has, row by row, and the
 * bytes of attachments in pieces. Read in one transaction, so it is one state; by cursors, so that nothing is whole in memory.
 *
 *   {"file": "messages.jsonl", "row": {…}}           a line of that file
 *   {"file": "attachments/<id>", "data": "<base64>"} the next bytes of that file
 *   {"end": {"subject": …, "files": {name: {rows, bytes, sha256}}}}
 *
 * No secret is among it: of accounts, leases and grants it says that they are there. Each entry of the audit log comes with
 * its proof, where it is sealed; and what is private in it, opened.
 */
import { createHash, type Hash } from 'node:crypto';
import { openPrivate, proveInclusion } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { type MasterKey, principalOfThread } from '../vault/index.ts';
import { CareError } from './errors.ts';
import { namesOf, principalsOf } from './names.ts';
import { has } from './schema.ts';
import { parseSubject, type Subject } from './subject.ts';

export interface ArchiveFile {
  /** Of a file of lines. */
  readonly rows?: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface ArchiveEnd {
  readonly format: 'centaur-data-1';
  readonly subject: string;
  readonly exported_at: string;
  readonly files: Readonly<Record<string, ArchiveFile>>;
}

const ROWS = 20;
/** Divisible by three, so that the base64 of pieces is that of the whole. */
const PIECE = 768 * 1024;

/** `$1` is the thread's key or the person's name, `$2` the principal, `$3` the subject, `$4` how an entry with something private of it begins to say so, `$5` all names of
 * a person, and `$6` all principals. */
interface Section {
  readonly file: string;
  readonly sql: string;
  /** A table that a release may not have yet. */
  readonly needs?: string;
}

const RUNS = (of: string): string =>
  `select run_id from runs_under(array(select e.run_id from agent_execution_requests e where ${of} and e.run_id is not null
   union select e.asked_by from agent_execution_requests e where ${of} and e.asked_by is not null))`;
const RUN_COLUMNS =
  'run_id, workflow_name, workflow_version, status, queue, parent_run_id, trace_id, trigger_key, input, error, created_at, started_at';

const EXECUTION = `thread_key, execution_id, assignment_generation, execute_id, run_id, asked_by, status, harness, persona_id, model, effort, platform, delivery,
  metadata, user_id, terminal_reason, result_text, result_json, error_text, usage, created_at, started_at, completed_at`;
const MESSAGE =
  'thread_key, message_id, position, assignment_generation, role, parts, user_id, metadata, delivered_execution_id, created_at';
const ATTACHMENT = `thread_key, attachment_id, message_id, execution_id, name, mime_type, size, encode(sha256, 'hex') as sha256, created_at`;
const EVENT = 'thread_key, event_id, execution_id, event_kind, event_json, created_at';
const LEASE =
  'lease_id, kind, principal, on_behalf_of, besides, account, user_name, channel, run_id, step, thread_key, trace_id, max_uses, used, expires_at, created_at, revoked_at';
const APPROVAL = `approval_id, kind, risk, gate, rule, principal, summary, state, thread_key, run_id, reason, decided_by, edited_by, overridden, created_at,
  expires_at, decided_at, consumed_at`;
const CALL = `principal, call_key, call_id, tool, method, state, result, error, created_at, ended_at`;

/** Sections that both have, by the conditions on executions `e`, leases and questions that say whose they are. */
const shared = (of: string, leases: string, questions: string): readonly Section[] => [
  {
    file: 'runs.jsonl',
    sql: `with mine as (${RUNS(of)}) select ${RUN_COLUMNS}, null::json as result, null::timestamptz as ended_at from workflow_runs where run_id in (select run_id from mine)
      union all select ${RUN_COLUMNS}, result, ended_at from workflow_runs_finished where run_id in (select run_id from mine)`,
  },
  {
    file: 'steps.jsonl',
    sql: `select run_id, seq, ord, attempt, attempts, kind, status, name, outcome, detail, started_at, ended_at from workflow_steps
      where run_id in (${RUNS(of)}) order by run_id, seq`,
  },
  {
    file: 'webhook_deliveries.jsonl',
    sql: `select delivery_id, slug, workflow_name, received_at, run_id, method, source_ip, content_type, body_bytes, provider, event from webhook_deliveries
      where run_id in (${RUNS(of)})`,
  },
  {
    file: 'tool_calls.jsonl',
    sql: `select ${CALL} from tool_calls where principal = any($6) or split_part(principal, ' ', 1) = any($6) or split_part(principal, ' ', 2) = any($6)`,
  },
  {
    file: 'approvals.jsonl',
    sql: `select ${APPROVAL} from approvals where principal = any($6) or ${questions} or run_id in (${RUNS(of)})`,
  },
  { file: 'grants.jsonl', sql: 'select grant_id, principal, secret, created_at, revoked_at from grants where principal = any($6)' },
  { file: 'leases.jsonl', sql: `select ${LEASE} from leases where ${leases}` },
  { file: 'holds.jsonl', sql: `select hold_id, subject, reason, created_by, created_at, released_at from data_holds where subject = $3` },
];

const OF_THREAD: readonly Section[] = [
  {
    file: 'thread.jsonl',
    sql: 'select thread_key, title, trace_id, state, backend, harness, agent_thread_id, last_used_at, created_at, updated_at from sandbox_sessions where thread_key = $1',
  },
  {
    file: 'assignments.jsonl',
    sql: 'select * from agent_runtime_assignments where thread_key = $1 order by assignment_generation',
  },
  { file: 'messages.jsonl', sql: `select ${MESSAGE} from agent_message_requests where thread_key = $1 order by position` },
  {
    file: 'executions.jsonl',
    sql: `select ${EXECUTION} from agent_execution_requests where thread_key = $1 order by created_at, execution_id`,
  },
  { file: 'events.jsonl', sql: `select ${EVENT} from agent_execution_events where thread_key = $1 order by event_id` },
  {
    file: 'signals.jsonl',
    sql: 'select thread_key, execution_id, signal_id, kind, body, user_id, created_at from agent_execution_signals where thread_key = $1 order by position',
  },
  {
    file: 'deliveries.jsonl',
    sql: 'select thread_key, execution_id, platform, delivery, state, final_payload, attempt_count, created_at, delivered_at from agent_final_delivery_outbox where thread_key = $1',
  },
  {
    file: 'inbox.jsonl',
    sql: 'select platform, event_id, conversation, body, state, attempt_count, received_at, settled_at from agent_inbox where conversation = $1 order by position',
  },
  { file: 'attachments.jsonl', sql: `select ${ATTACHMENT} from attachments where thread_key = $1 order by attachment_id` },
  {
    file: 'session.jsonl',
    sql: `select thread_key, harness, agent_thread_id, execution_id, length(data) as size, encode(sha256, 'hex') as sha256, created_at from session_snapshots where thread_key = $1`,
  },
  ...shared('e.thread_key = $1', 'thread_key = $1 or principal = $2', 'thread_key = $1'),
];

const GRANT =
  'grant_id, approval_id, tool, principal, thread_key, run_id, granted_by, reason, used, last_used_at, created_at, expires_at, revoked_at, revoked_by';
const CALL_LEASE = 'call_id, principal, on_behalf_of, run_id, thread_key, expires_at';

const MORE_OF_THREAD: readonly Section[] = [
  { file: 'usage.jsonl', needs: 'usage', sql: 'select * from usage where thread_key = $1 order by at' },
  { file: 'usage_days.jsonl', needs: 'usage_days', sql: `select * from usage_days where dimension = 'thread' and key = $1 order by day` },
  {
    file: 'approval_grants.jsonl',
    needs: 'approval_grants',
    sql: `select ${GRANT} from approval_grants where thread_key = $1 or principal = $2`,
  },
  {
    file: 'call_leases.jsonl',
    needs: 'tool_call_leases',
    sql: `select ${CALL_LEASE} from tool_call_leases where thread_key = $1 or principal = $2`,
  },
  {
    file: 'votes.jsonl',
    needs: 'approval_votes',
    sql: `select v.approval_id, v.voter, v.verdict, v.reason, v.channel, v.void, v.at from approval_votes v join approvals a using (approval_id) where a.principal = $2 or a.thread_key = $1
      or a.run_id in (select e.run_id from agent_execution_requests e where e.thread_key = $1)`,
  },
];

const MORE_OF_PERSON: readonly Section[] = [
  {
    file: 'user.jsonl',
    needs: 'users',
    sql: 'select user_id, name, display_name, role, email, created_at, updated_at, last_sign_in_at, disabled_at from users where name = $1',
  },
  {
    file: 'identities.jsonl',
    needs: 'user_identities',
    sql: 'select i.issuer, i.subject, i.created_at from user_identities i join users u using (user_id) where u.name = $1',
  },
  {
    file: 'chat_links.jsonl',
    needs: 'chat_links',
    sql: `select l.platform, l.team, l.external_user, l.display_name, l.how, l.linked_by, l.created_at
      from chat_links l join users u using (user_id) where u.name = $1`,
  },
  {
    file: 'former_chat_links.jsonl',
    needs: 'chat_former_links',
    sql: `select l.platform, l.team, l.external_user, l.ended_at from chat_former_links l join users u using (user_id) where u.name = $1`,
  },
  {
    file: 'sessions.jsonl',
    needs: 'user_sessions',
    sql: `select s.session_id, s.kind, s.how, s.address, s.agent, s.proven_at, s.created_at, s.seen_at, s.expires_at, s.revoked_at
      from user_sessions s join users u using (user_id) where u.name = $1`,
  },
  { file: 'usage.jsonl', needs: 'usage', sql: 'select * from usage where user_id = any($5) order by at' },
  {
    file: 'usage_days.jsonl',
    needs: 'usage_days',
    sql: `select * from usage_days where dimension = 'user' and key = any($5) order by day`,
  },
  {
    file: 'approval_grants.jsonl',
    needs: 'approval_grants',
    sql: `select ${GRANT} from approval_grants where principal = any($6) or granted_by = $2`,
  },
  {
    file: 'call_leases.jsonl',
    needs: 'tool_call_leases',
    sql: `select ${CALL_LEASE} from tool_call_leases where principal = any($6) or on_behalf_of = any($6)`,
  },
  {
    file: 'votes.jsonl',
    needs: 'approval_votes',
    sql: 'select approval_id, voter, verdict, reason, channel, void, at from approval_votes where voter = $1',
  },
  {
    file: 'drafts.jsonl',
    needs: 'policy_drafts',
    sql: 'select name, message, source, created_at, updated_at from policy_drafts where author = $2 order by name',
  },
  {
    file: 'started_runs.jsonl',
    needs: 'workflow_runs_finished.started_by',
    sql: `select ${RUN_COLUMNS}, null::timestamptz as ended_at from workflow_runs where started_by = $2
      union all select ${RUN_COLUMNS}, ended_at from workflow_runs_finished where started_by = $2`,
  },
  { file: 'asked_runs.jsonl', needs: 'run_askers', sql: 'select run_id from run_askers where actor = $2 order by run_id' },
];

const TURNS = `(e.user_id = any($5)
  or exists (select from agent_message_requests m where m.thread_key = e.thread_key and m.delivered_execution_id = e.execution_id and m.user_id = any($5))
  or exists (select from agent_execution_signals s where s.thread_key = e.thread_key and s.execution_id = e.execution_id and s.user_id = any($5)))`;
const MINE = `select e.execution_id from agent_execution_requests e where ${TURNS}`;

const OF_PERSON: readonly Section[] = [
  {
    file: 'threads.jsonl',
    sql: `select thread_key, title, created_at, last_used_at from sandbox_sessions where thread_key in (
      select thread_key from agent_message_requests where user_id = any($5) union select thread_key from agent_execution_requests where user_id = any($5)) order by thread_key`,
  },
  { file: 'messages.jsonl', sql: `select ${MESSAGE} from agent_message_requests where user_id = any($5) order by thread_key, position` },
  { file: 'executions.jsonl', sql: `select ${EXECUTION} from agent_execution_requests e where ${TURNS} order by created_at, execution_id` },
  {
    file: 'events.jsonl',
    sql: `select ${EVENT} from agent_execution_events where execution_id in (${MINE}) order by thread_key, event_id`,
  },
  {
    file: 'signals.jsonl',
    sql: 'select thread_key, execution_id, signal_id, kind, body, user_id, created_at from agent_execution_signals where user_id = any($5) order by position',
  },
  {
    file: 'deliveries.jsonl',
    sql: `select thread_key, execution_id, platform, delivery, state, final_payload, attempt_count, created_at, delivered_at from agent_final_delivery_outbox
      where execution_id in (${MINE})`,
  },
  {
    file: 'attachments.jsonl',
    sql: `select ${ATTACHMENT} from attachments a where a.execution_id in (${MINE})
      or exists (select from agent_message_requests m where m.thread_key = a.thread_key and m.message_id = a.message_id and m.user_id = any($5)) order by attachment_id`,
  },
  {
    file: 'accounts.jsonl',
    sql: `select connection_id, app, user_name, flow, status, reason, secret, scopes, token_ends_at, created_by, created_at, updated_at
      from oauth_connections where user_name = $1 order by created_at`,
  },
  { file: 'roles.jsonl', sql: 'select principal, role, created_at from principal_roles where principal = any($6)' },
  ...shared(
    TURNS,
    'principal = any($6) or on_behalf_of = any($6) or besides && $6 or user_name = any($5) or account = any($5)',
    '(decided_by = $2 or edited_by = $1 or approval_id in (select approval_id from approval_votes where voter = $1))',
  ),
];

const ENTRIES = {
  thread:
    'select audit_id, entry from audit_log where thread_key = $1 or actor = $2 or resource = $3 or position($4 in entry) > 0 order by audit_id',
  user: 'select audit_id, entry from audit_log where actor = $2 or resource = $3 or position($4 in entry) > 0 order by audit_id',
};

/** @throws CareError INVALID_SUBJECT, SUBJECT_NOT_FOUND */
export async function* exportSubject(
  { store, master }: { readonly store: Store; readonly master: MasterKey },
  text: string,
): AsyncGenerator<string> {
  const subject = parseSubject(text);
  const principal = subject.kind === 'thread' ? principalOfThread(subject.key) : subject.text;
  const said = [
    subject.kind === 'thread' ? subject.key : subject.name,
    principal,
    subject.text,
    `"private":${JSON.stringify({ subject: subject.text }).slice(0, -1)},`,
  ] as const;
  const files = new Map<string, { rows?: number; bytes: number; hash: Hash }>();
  const line = (value: object) => `${JSON.stringify(value)}\n`;
  const opened = (file: string, kind: 'lines' | 'bytes') => {
    const known = files.get(file) ?? { ...(kind === 'lines' ? { rows: 0 } : {}), bytes: 0, hash: createHash('sha256') };
    files.set(file, known);
    return known;
  };
  // the text of a row is what is hashed, and what whoever receives it writes
  const row = (file: string, json: string): string => {
    const kept = opened(file, 'lines');
    const written = `${json}\n`;
    kept.rows = (kept.rows ?? 0) + 1;
    kept.bytes += Buffer.byteLength(written);
    kept.hash.update(written);
    return line({ file, row: json });
  };
  const client = await store.connect('export');
  const on: Queryable = {
    async query<Row extends object>(sql: string, values: readonly unknown[] = []) {
      const { rows, rowCount } = await client.query<Row>(sql, values as unknown[]);
      return { rows, rowCount: rowCount ?? 0 };
    },
  };
  try {
    await client.query('begin isolation level repeatable read read only');
    if (subject.kind === 'thread') await refuseUnknown(on, subject);
    const names = subject.kind === 'thread' ? undefined : await namesOf(on, subject.name);
    const given: Given = [...said, names ?? [], names === undefined ? [principal] : principalsOf(names)];
    const attachments: { readonly id: string; readonly threadKey: string; readonly size: number }[] = [];
    const sections = subject.kind === 'thread' ? [...OF_THREAD, ...MORE_OF_THREAD] : [...OF_PERSON, ...MORE_OF_PERSON];
    for (const { file, sql, needs } of sections) {
      if (needs !== undefined && !(await has(on, needs))) continue;
      opened(file, 'lines');
      for await (const json of rowsOf(on, sql, given)) {
        if (file === 'attachments.jsonl') {
          const { attachment_id, thread_key, size } = JSON.parse(json) as { attachment_id: string; thread_key: string; size: number };
          attachments.push({ id: attachment_id, threadKey: thread_key, size });
        }
        yield row(file, json);
      }
    }
    for (const { id, threadKey, size } of attachments) {
      const file = `attachments/${id}`;
      const kept = opened(file, 'bytes');
      for (let at = 0; at === 0 || at < size; at += PIECE) {
        const { rows } = await on.query<{ data: Buffer }>(
          'select substring(data from $3 for $4) as data from attachments where thread_key = $1 and attachment_id = $2',
          [threadKey, id, at + 1, PIECE],
        );
        const data = rows[0]?.data ?? Buffer.alloc(0);
        kept.bytes += data.length;
        kept.hash.update(data);
        yield line({ file, data: data.toString('base64') });
      }
    }
    opened('audit.jsonl', 'lines');
    for await (const json of rowsOf(on, ENTRIES[subject.kind], given)) {
      const { audit_id, entry } = JSON.parse(json) as { audit_id: string; entry: string };
      const parsed = JSON.parse(entry) as { readonly private?: { readonly subject: string; readonly sealed: string } };
      const opens = parsed.private?.subject === subject.text ? await openPrivate(on, master, parsed.private) : undefined;
      // outside of the snapshot: what was not sealed a moment ago may be now
      const proof = await proveInclusion(store, audit_id);
      yield row('audit.jsonl', JSON.stringify({ entry, proof: proof ?? null, ...(opens === undefined ? {} : { private: opens }) }));
    }
    await client.query('commit');
  } finally {
    await client.end().catch(() => undefined);
  }
  const end: ArchiveEnd = {
    format: 'centaur-data-1',
    subject: subject.text,
    exported_at: new Date(store.now()).toISOString(),
    files: Object.fromEntries([...files].map(([name, { hash, ...file }]) => [name, { ...file, sha256: hash.digest('hex') }] as const)),
  };
  yield line({ end });
}

async function refuseUnknown(on: Queryable, subject: Extract<Subject, { kind: 'thread' }>): Promise<void> {
  const { rowCount } = await on.query('select 1 from sandbox_sessions where thread_key = $1', [subject.key]);
  if (rowCount === 0) throw new CareError('SUBJECT_NOT_FOUND', `there is no thread ${JSON.stringify(subject.key)}`);
}

type Given = readonly [string, string, string, string, readonly string[], readonly string[]];

/** Each as its JSON, by a cursor. Not every statement asks for all that is given. */
async function* rowsOf(on: Queryable, sql: string, given: Given): AsyncGenerator<string> {
  await on.query(
    `declare rows no scroll cursor for with given as (select $1::text, $2::text, $3::text, $4::text, $5::text[], $6::text[]) select to_json(r)::text as json from (${sql}) r`,
    given,
  );
  for (;;) {
    const { rows } = await on.query<{ json: string }>(`fetch ${ROWS} from rows`);
    for (const { json } of rows) yield json;
    if (rows.length < ROWS) break;
  }
  await on.query('close rows');
}
