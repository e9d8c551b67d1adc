/**
 * A host that does no more than the protocol asks, for the suite's own tests: what it does right must pass, and with
 * `--broken WAY` it does one thing wrong, which the suite must see. It runs the workflows of `files/node`.
 */
import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ChildRunError, NonRetryableError, RunCancelledError, StepError, WaitTimeoutError, WorkflowError } from '@centaur/sdk';

const broken = process.argv[process.argv.indexOf('--broken') + 1];
const write = process.stdout.write.bind(process.stdout);
if (broken !== 'prints') process.stdout.write = process.stderr.write.bind(process.stderr);
const send = (message) => write(`${JSON.stringify(message)}\n`);

// of calls that nobody waits for
process.on('unhandledRejection', () => {});
const workflows = await load();
const runs = new Map();
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => receive(line));
lines.on('close', () => write('', () => process.exit(0)));

async function load() {
  const found = new Map();
  for (const file of globSync(join(process.env.WORKFLOW_DIRS, '**/*.ts')).sort()) {
    const module = await import(file);
    const definition = module.default ?? { ...module, name: module.WORKFLOW_NAME };
    if (definition.name !== undefined) found.set(definition.name, { ...definition, file });
  }
  return found;
}

function receive(line) {
  if (line === '') return;
  let message;
  try {
    message = JSON.parse(line);
  } catch {
    message = {};
  }
  const { type, run_id: id } = message ?? {};
  if (type === 'workflow.discover' || type === 'discover') send(discovery());
  else if (type === 'host.ping') send({ type: 'host.pong', id: message.id });
  else if (type === 'workflow.start') begin(message);
  else if (type === 'ctx.response') runs.get(id)?.answer(message);
  else if (type === 'workflow.cancel') runs.get(id)?.cancel(message.reason);
  else if (type !== 'host.lease') send({ type: 'host.error', message: `unknown message ${String(type)}` });
}

function discovery() {
  const entries = [...workflows.values()].map(({ name, file, input }) => ({
    workflow_name: name,
    source_path: file,
    webhooks: [],
    schedule: null,
    principal: null,
    agent_defaults: null,
    queue: null,
    retry: null,
    has_input: input !== undefined,
    has_concurrency_key: false,
  }));
  return { type: 'workflow.discovery', protocol: 1, language: 'typescript', workflows: entries, problems: [] };
}

function begin(start) {
  const { run_id: id, workflow_name: name } = start;
  const open = new Map();
  let requests = 0;
  let draws = 0;
  let checkpoints = 0;
  let { now, live } = start;
  let burst = [];
  let taken = 1;
  let resting = false;

  const put = (message) => burst.push({ ...message, run_id: id });
  const settle = () => {
    resting = false;
    if (broken === 'impatient') queueMicrotask(() => flush(0));
    else setImmediate(flush, 24);
  };

  /** Many turns of the loop later, what was ready has run. */
  function flush(turns) {
    if (!runs.has(id)) return;
    if (turns > 0) return void setImmediate(flush, turns - 1);
    if (burst.length === 0 && broken !== 'no rest') put({ type: 'ctx.rest' });
    if (burst.length > 0) Object.assign(burst.at(-1), { rest: true, taken: broken === 'miscounts' ? taken + 1 : taken });
    if (broken === 'other order') burst.reverse();
    for (const message of burst) {
      send(message);
      if (broken === 'twice' && message.type === 'ctx.step.get') send(message);
      if (message.type.startsWith('workflow.')) runs.delete(id);
    }
    burst = [];
    resting = true;
  }

  function call(type, fields, cost = 1) {
    checkpoints += cost;
    return ask(type, fields);
  }

  function ask(type, fields) {
    const request = String(++requests);
    put({ type, request_id: request, ...fields });
    return new Promise((resolve, reject) => open.set(request, { resolve, reject }));
  }

  function take(message) {
    taken += 1;
    ({ now, live } = message);
    const waiter = open.get(message.request_id);
    open.delete(message.request_id);
    if (message.ok) waiter?.resolve({ request: message.request_id, value: message.value });
    else waiter?.reject(errorOf(message));
    settle();
  }

  async function step(stepName, fn, { retry, timeout } = {}) {
    const policy =
      retry === undefined ? {} : { retry: { max_attempts: retry.maxAttempts, delay_ms: 10_000, non_retryable: retry.nonRetryable } };
    const limit = timeout === undefined ? {} : { timeout_ms: timeout };
    const asked = call('ctx.step.get', { step: stepName, ...policy, ...limit });
    let { value: answer, request } = await asked;
    while (answer.done !== true) {
      const { checkpoint_name: name, attempt: number } = answer;
      // a function that is given up is answered on the question that began it
      const givenUp = new Promise((resolve, reject) => open.set(request, { resolve, reject }));
      givenUp.catch(() => {});
      let over = false;
      const tried = attempt(() => fn({ attempt: number })).then((outcome) => {
        if (over) return new Promise(() => {});
        const ended =
          outcome.error === undefined
            ? ask('ctx.step.put', { checkpoint_name: name, value: outcome.value })
            : ask('ctx.step.fail', { checkpoint_name: name, error: infoOf(outcome.error) });
        if (resting) settle();
        return ended.then((given) => ({ ...given, ...(broken === 'raw' ? outcome : {}), stored: outcome.error === undefined }));
      });
      const given = await Promise.race([tried, givenUp]).finally(() => {
        over = true;
      });
      if (given.stored === true) return given.value;
      answer = { ...given.value, checkpoint_name: name };
      request = given.request;
    }
    if (broken === 'again') await attempt(() => fn({ attempt: 1 }));
    return answer.value;
  }

  const draw = () =>
    createHash('sha256')
      .update(`${broken === 'chance' ? Math.random() : start.seed}:${draws++}`)
      .digest();
  const value = (asked) => asked.then((given) => given.value);
  const agent = (agentName, args) => value(call('ctx.agent_turn', { step: agentName, args }, 2));
  const note =
    (level) =>
    (message, fields = {}) => {
      if (live || broken === 'logs') put({ type: 'ctx.log', level, message, fields });
    };
  const ctx = {
    runId: id,
    workflowName: name,
    attempt: start.attempt,
    step,
    sleep: (each) => value(call('ctx.sleep', { step: each, duration_seconds: 30 })),
    sleepUntil: (each, when) => value(call('ctx.sleep_until', { step: each, wake_at: when.toISOString() })),
    waitForEvent: (each, { eventType, correlationId, timeout }) =>
      value(
        call('ctx.event.wait', {
          step: each,
          event_type: eventType,
          correlation_id: correlationId,
          ...(timeout === undefined ? {} : { timeout_seconds: 60 }),
        }),
      ),
    transaction: async (each, fn) => {
      let { value: answer } = await call('ctx.tx.begin', { step: each, retry: { max_attempts: 8 } });
      while (answer.done !== true) {
        const { tx } = answer;
        const query = async (sql, params) => {
          const { rows, row_count: rowCount } = await value(ask('ctx.tx.query', { tx, sql, params }));
          return { rows, rowCount };
        };
        const outcome = await attempt(() => fn({ query }));
        if (outcome.error === undefined) return value(ask('ctx.tx.commit', { tx, value: outcome.value }));
        answer = await value(ask('ctx.tx.rollback', { tx, error: infoOf(outcome.error) }));
      }
      return answer.value;
    },
    startWorkflow: (each, { workflow, input }) => value(call('ctx.workflow.start', { step: each, workflow_name: workflow, input })),
    waitForWorkflow: async (each, { runId }) => {
      const ended = await value(call('ctx.workflow.wait', { step: each, child_run_id: runId }));
      if (ended.status !== 'completed') throw new ChildRunError({ code: 'CHILD_FAILED', message: 'it failed', childRunId: runId });
      return ended.result;
    },
    runWorkflow: async (each, options) => {
      const { run_id: runId } = await ctx.startWorkflow(`${each}.start`, options);
      return ctx.waitForWorkflow(`${each}.wait`, { runId });
    },
    startAgent: (each, args) => value(call('ctx.agent.start', { step: each, args })),
    waitForAgent: (each, started) => value(call('ctx.agent.wait', { step: each, agent: started })),
    runAgent: agent,
    agentTurn: (text, { name: each = 'agent_turn', threadKey, metadata } = {}) => agent(each, { text, thread_key: threadKey, metadata }),
    runAgents: (agents) => value(call('ctx.run_agents', { agents }, agents.length * 2)),
    approval: (step, { summary, gate, tool, args, expires }) =>
      value(call('ctx.approval', { step, summary, gate, tool, args, expires_seconds: expires === undefined ? undefined : 7200 })),
    callTool: (tool, method, args) => value(call('ctx.call_tool', { tool, method, args })),
    postToSlack: (channel, text) => value(call('ctx.post_to_slack', { channel, text })),
    updateSlack: (message) => value(call('ctx.update_slack', { message })),
    patched: (patch) => {
      if (start.patches.some((each) => each.seq === checkpoints && each.id === patch)) checkpoints += 1;
      else if (checkpoints < start.history_length) return false;
      else {
        checkpoints += 1;
        put({ type: 'ctx.patch', id: patch });
      }
      return true;
    },
    now: () => new Date(broken === 'clock' ? Date.now() : now),
    random: () => draw().readUIntBE(0, 6) / 2 ** 48,
    uuid: () => uuidOf(draw()),
    log: { info: note('info'), warn: note('warn'), error: note('error'), debug: note('debug') },
  };

  runs.set(id, {
    answer: take,
    cancel(reason) {
      runs.delete(id);
      if (reason === 'cancelled' || reason === 'timeout') for (const { reject } of open.values()) reject(new RunCancelledError());
    },
  });
  const end = (type, fields) =>
    put({ type, workflow_run_id: id, workflow_task_id: id, task_id: id, workflow_name: name, ...fields, rest: true });
  Promise.resolve()
    .then(() => {
      const workflow = workflows.get(name);
      if (workflow === undefined) throw new Error(`there is no workflow ${name}`);
      return workflow.handler(start.input, ctx);
    })
    .then((result) => end('workflow.result', { result: plain(result, 'RESULT_NOT_JSON') }))
    .catch((error) => end('workflow.error', { message: error.message, traceback: `${error.stack} ends`, error: infoOf(error) }))
    .finally(() => resting && settle());
  settle();
}

async function attempt(fn) {
  try {
    const value = await fn();
    const json = plain(value, 'NOT_JSON');
    return { value: broken === 'raw' ? value : json };
  } catch (error) {
    return { error };
  }
}

function plain(value, code) {
  try {
    if (value instanceof Map) throw new TypeError('a Map');
    return value === undefined ? null : JSON.parse(JSON.stringify(value));
  } catch (error) {
    throw new WorkflowError(code, `not JSON: ${error.message}`);
  }
}

function infoOf(error) {
  let cause = error;
  while (cause !== undefined && cause.request === undefined) cause = cause.cause;
  return {
    name: error.name,
    code: error.code ?? 'ERROR',
    message: error.message,
    non_retryable: error instanceof NonRetryableError,
    ...(cause === undefined ? {} : { request_id: cause.request }),
  };
}

function errorOf({ request_id: request, error_info: { name, code, message, ...rest } }) {
  const error =
    name === 'StepError'
      ? new StepError({ stepName: rest.step_name, attempts: rest.attempts, causeName: rest.cause_name, code, message })
      : name === 'WaitTimeoutError'
        ? new WaitTimeoutError('', message)
        : new WorkflowError(code, message);
  return Object.defineProperty(error, 'request', { value: request });
}

function uuidOf(bytes) {
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
