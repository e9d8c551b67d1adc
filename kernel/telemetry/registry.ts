/**
 * Every figure that the processes tell, with its help and its labels: what is not here cannot be told, and the
 * reference, the dashboard and the alert rules are held against it.
 *
 * `of` says whose figure it is. `process`: each process tells its own, so they are added up. `database`: every process that is
 * asked tells the same, so the largest is taken. `firewall`: of each firewall, as `process`.
 */

export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'summary' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly of: 'process' | 'database' | 'firewall' | 'process and firewall';
}

function spec(type: MetricSpec['type'], of: MetricSpec['of'], help: string, ...labels: readonly string[]): MetricSpec {
  return { type, help, labels, of };
}

export const METRICS = {
  centaur_info: spec('gauge', 'process', 'The version of this process.', 'version'),
  centaur_database_up: spec('gauge', 'process', 'Whether Postgres answered.'),
  centaur_counting_seconds: spec('gauge', 'process', 'How long counting rows took the last time.'),

  centaur_runs: spec('gauge', 'database', 'Unfinished runs by status.', 'status'),
  centaur_queue_queued: spec('gauge', 'database', 'Runs that wait in a queue.', 'queue'),
  centaur_queue_running: spec('gauge', 'database', 'Runs of a queue that execute.', 'queue'),
  centaur_queue_oldest_seconds: spec('gauge', 'database', 'Since when the oldest run waits in a queue.', 'queue'),

  centaur_worker: spec('gauge', 'process', 'Whether this process works on runs.'),
  centaur_resident_runs: spec('gauge', 'process', 'Runs in this process’s memory.'),
  centaur_runs_started_total: spec('counter', 'process', 'Runs started through this process.'),
  centaur_runs_finished_total: spec('counter', 'process', 'Runs that this process ended.', 'status'),
  centaur_steps_executed_total: spec('counter', 'process', 'Steps whose function was called here.'),
  centaur_steps_replayed_total: spec('counter', 'process', 'Steps answered from their checkpoint here.'),
  centaur_step_seconds: spec('histogram', 'process', 'How long the functions of steps took, each attempt by itself.'),
  centaur_flushes_total: spec('counter', 'process', 'Group commits.'),
  centaur_flushed_writes_total: spec('counter', 'process', 'Writes in those commits.'),
  centaur_queued_writes: spec('gauge', 'process', 'Writes that wait for the next commit.'),
  centaur_fenced_total: spec('counter', 'process', 'Times this worker lost its lease.'),

  centaur_http_requests_total: spec('counter', 'process', 'Answered requests.', 'method', 'route', 'status'),
  centaur_http_request_seconds: spec('summary', 'process', 'Time until the answer began.', 'method', 'route', 'status'),
  centaur_http_streams: spec('gauge', 'process', 'Open event streams.'),
  centaur_webhooks_total: spec('counter', 'process', 'Requests to webhooks, by what became of them.', 'slug', 'outcome'),

  centaur_policy_decisions_total: spec(
    'counter',
    'process and firewall',
    'Decisions on calls and requests, by the rule that decided.',
    'decision',
    'rule',
  ),
  centaur_approvals_decided_total: spec('counter', 'process', 'What people decided.', 'gate', 'decision'),
  centaur_approvals_pending: spec('gauge', 'database', 'Questions that wait for a person.', 'gate'),
  centaur_approvals_oldest_seconds: spec('gauge', 'database', 'Since when the oldest of them waits.', 'gate'),
  centaur_approval_wait_seconds: spec('gauge', 'database', 'How long people took in the last hour.', 'gate', 'quantile'),
  centaur_leases_total: spec('counter', 'process', 'Leases of secrets, by what was done.', 'result'),
  centaur_audit_entries_total: spec('counter', 'process and firewall', 'Entries for the audit log.', 'action'),
  centaur_audit_queued: spec('gauge', 'process and firewall', 'Entries of the audit log that wait for their commit.'),
  centaur_audit_seal_lag_seconds: spec('gauge', 'database', 'Age of the oldest entry of the audit log that is not sealed.'),
  centaur_outbox_owed: spec('gauge', 'database', 'Final answers that are owed.', 'platform'),
  centaur_outbox_lag_seconds: spec('gauge', 'database', 'Since when the oldest of them is owed.', 'platform'),
  centaur_outbox_dead: spec('gauge', 'database', 'Final answers that could not be delivered, 10,000 at most.'),
  centaur_inbox_waiting: spec('gauge', 'database', 'Events of chat services that nobody has acted on yet.', 'platform'),
  centaur_inbox_lag_seconds: spec('gauge', 'database', 'Since when the oldest of them waits.', 'platform'),
  centaur_inbox_dead: spec('gauge', 'database', 'Events of chat services that were given up, 10,000 at most.'),
  centaur_sandboxes: spec('gauge', 'database', 'Sandboxes of threads by state.', 'state'),
  centaur_tokens_total: spec('counter', 'database', 'Tokens of turns that ended, by model.', 'model', 'kind'),
  centaur_cost_micros_total: spec('counter', 'database', 'What they cost, in millionths of the currency of the prices.', 'model'),
  centaur_unpriced_tokens_total: spec('counter', 'database', 'Tokens of models without a price.', 'model'),

  centaur_otlp_requests_total: spec(
    'counter',
    'process and firewall',
    'Requests to the receiver of OpenTelemetry, by what became of them.',
    'signal',
    'outcome',
  ),

  centaur_egress_total: spec(
    'counter',
    'firewall',
    'Requests by host and verdict; hosts to which nothing was let through are "other".',
    'host',
    'verdict',
  ),
  centaur_egress_refused_total: spec('counter', 'firewall', 'Requests that were refused, by code.', 'code'),
  centaur_egress_refused_unrecorded_total: spec('counter', 'firewall', 'Refusals beyond what is recorded one by one.'),
  centaur_leak_hits_total: spec('counter', 'firewall', 'Answers with a secret in them, by secret.', 'secret'),
  centaur_egress_tunnels_total: spec('counter', 'firewall', 'Tunnels opened, by kind.', 'kind'),
  centaur_egress_answer_bytes_total: spec('counter', 'firewall', 'Bytes of answers sent on.'),
  centaur_egress_seconds: spec('histogram', 'firewall', 'From the first line of a request to the end of its answer.'),
  centaur_egress_tunnels_open: spec('gauge', 'firewall', 'Tunnels that are open.'),
  centaur_egress_leases_in_use: spec('gauge', 'firewall', 'Leases that this firewall knows.'),
  centaur_scanner_patterns: spec('gauge', 'firewall', 'Forms of secrets that answers are searched for.'),

  process_cpu_user_seconds_total: spec('counter', 'process', 'CPU time in user mode.'),
  process_cpu_system_seconds_total: spec('counter', 'process', 'CPU time in the kernel.'),
  process_resident_memory_bytes: spec('gauge', 'process', 'Memory in RAM.'),
  process_start_time_seconds: spec('gauge', 'process', 'When the process started, in Unix time.'),
  nodejs_heap_size_used_bytes: spec('gauge', 'process', 'Used heap.'),
  nodejs_heap_size_total_bytes: spec('gauge', 'process', 'Heap.'),
  nodejs_eventloop_lag_p50_seconds: spec('gauge', 'process', 'Median lag of the event loop since the last scrape.'),
  nodejs_eventloop_lag_p99_seconds: spec('gauge', 'process', '99th percentile of it.'),
  nodejs_eventloop_lag_max_seconds: spec('gauge', 'process', 'The longest.'),
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type MetricName = keyof typeof METRICS;
