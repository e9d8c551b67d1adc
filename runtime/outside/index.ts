/**
 * What runs ask for beside agents: a tool's method, a post to Slack. Each call goes out through the firewall, in the name of the
 * workflow: with its grants, under its policy, and with a line in the audit log. This process never holds the key that is sent.
 */
import { type Outside, type OutsideCaller, WaitsForApprovalError } from '@centaur/kernel/engine';
import { getApproval } from '@centaur/kernel/policy';
import { ToolError, type Tools } from '@centaur/kernel/tools';
import { createLease, grantsOf, type Installation, publicPart } from '@centaur/kernel/vault';
import { NonRetryableError } from '@centaur/sdk';
import { fetch, ProxyAgent } from 'undici';
import { readAnswer, slackBody } from './slack.ts';

export { createApprovals } from './approvals.ts';

export interface OutsideOptions {
  readonly installation: Installation;
  /** The firewall's address, as this process reaches it. */
  readonly firewallUrl: string;
  readonly slackApiUrl: string;
  /** Of another installation, whose tools `ctx.callTool` calls then. */
  readonly toolApiUrl: string | undefined;
  /** Of this process, else. Asked at each call: they may be there later than the first run. */
  tools?(): Tools | undefined;
}

interface Way {
  readonly agent: ProxyAgent;
  readonly placeholders: Readonly<Record<string, string>>;
  readonly until: number;
}

const ACTOR = 'system:workflows';
const LEASE_SECONDS = 3600;
const CALL_MS = 120_000;
const SLACK_SECRET = 'SLACK_BOT_TOKEN';
const TOOL_SECRET = 'WORKFLOW_TOOL_API_KEY';
const ANSWER_BYTES = 4 * 1024 * 1024;

export function createOutside(options: OutsideOptions): Outside & { close(): Promise<void> } {
  const { installation } = options;
  const ways = new Map<string, Promise<Way>>();

  /** One way out for each workflow, made anew before its lease ends and when its grants have changed. */
  async function wayFor(workflow: string, needed: string): Promise<Way> {
    const known = await ways.get(workflow);
    if (known !== undefined && known.until > Date.now() && known.placeholders[needed] !== undefined) return known;
    const made = open(workflow);
    ways.set(workflow, made);
    made.catch(() => ways.delete(workflow));
    await known?.agent.close().catch(() => {});
    return made;
  }

  async function open(workflow: string): Promise<Way> {
    const principal = `workflow:${workflow}`;
    const caPem = await publicPart(installation.store, 'firewall.ca');
    if (caPem === undefined) throw new Error('no firewall has been started yet: "centaur up" or "centaur firewall" starts one');
    const lease = await createLease(installation, ACTOR, {
      principal,
      secrets: await grantsOf(installation.store, principal),
      ttlSeconds: LEASE_SECONDS,
      kind: 'run',
    });
    const agent = new ProxyAgent({
      uri: options.firewallUrl,
      token: `Basic ${Buffer.from(`lease:${lease.token}`).toString('base64')}`,
      requestTls: { ca: caPem },
      // what is not encrypted goes through the same door
      proxyTunnel: false,
    });
    return { agent, placeholders: lease.placeholders, until: Date.now() + (LEASE_SECONDS * 1000) / 2 };
  }

  async function post(
    url: string,
    secret: string,
    body: unknown,
    { workflow, traceId }: OutsideCaller,
  ): Promise<{ status: number; body: unknown }> {
    const way = await wayFor(workflow, secret);
    const placeholder = way.placeholders[secret];
    const answer = await fetch(url, {
      method: 'POST',
      dispatcher: way.agent,
      headers: {
        'content-type': 'application/json; charset=utf-8',
        ...(placeholder === undefined ? {} : { authorization: `Bearer ${placeholder}` }),
        ...(traceId === null ? {} : { 'x-trace-id': traceId.replaceAll('-', '') }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_MS),
    });
    const text = (await answer.text()).slice(0, ANSWER_BYTES);
    return { status: answer.status, body: parse(text) };
  }

  async function slack(method: string, body: Readonly<Record<string, unknown>>, caller: OutsideCaller) {
    const { placeholders } = await wayFor(caller.workflow, SLACK_SECRET);
    if (placeholders[SLACK_SECRET] === undefined)
      throw new NonRetryableError(
        `workflow:${caller.workflow} may not use ${SLACK_SECRET}; grant it with: centaur grants add workflow:${caller.workflow} ${SLACK_SECRET}`,
        { code: 'NOT_GRANTED' },
      );
    return readAnswer(method, await post(`${options.slackApiUrl}/${method}`, SLACK_SECRET, body, caller));
  }

  /** A step that is repeated after a crash comes with the same key, so that the call is not made twice. */
  const callHere: NonNullable<Outside['callTool']> = async ({ tool, method, args }, { workflow, runId, traceId, step, attempt, key }) => {
    const tools = options.tools?.();
    if (tools === undefined) throw new Error('the tools of this process are not there yet');
    try {
      const { result, edited = null } = await tools.call(
        { principal: `workflow:${workflow}`, workflow, runId, step, traceId: traceId?.replaceAll('-', '') },
        // where people have to approve, the run waits for them, and not this call
        { tool, method, args, idempotencyKey: key, attempt, waitMs: 0 },
      );
      return { result, edited };
    } catch (error) {
      const approvalId = error instanceof ToolError && error.code === 'APPROVAL_REQUIRED' ? error.details?.['approval_id'] : undefined;
      if (typeof approvalId === 'string') {
        const { gate, expires_at: expiresAt } = await getApproval(installation.store, approvalId);
        throw new WaitsForApprovalError({ approvalId, gate, expiresAt: Date.parse(expiresAt) });
      }
      if (error instanceof ToolError && !error.retryable) throw new NonRetryableError(error.message, { code: error.code, cause: error });
      throw error;
    }
  };

  return {
    postToSlack: (message, caller) => slack('chat.postMessage', slackBody(message, caller.key), caller),
    updateSlack: (message, caller) => slack('chat.update', slackBody(message, undefined), caller),
    ...(options.toolApiUrl === undefined
      ? { callTool: callHere }
      : {
          async callTool({ tool, method, args }, caller) {
            const url = `${options.toolApiUrl}/tools/${encodeURIComponent(tool)}/${encodeURIComponent(method)}`;
            const { status, body } = await post(url, TOOL_SECRET, args, caller);
            if (status < 300)
              return isRecord(body) && 'result' in body
                ? { result: body['result'], edited: isRecord(body['edited']) ? (body['edited'] as never) : null }
                : { result: body, edited: null };
            const said = isRecord(body) && typeof body['message'] === 'string' ? body['message'] : `the tools answered ${status}`;
            const code = isRecord(body) && typeof body['code'] === 'string' ? body['code'] : 'TOOL_FAILED';
            throw status < 500 && status !== 429 ? new NonRetryableError(said, { code }) : Object.assign(new Error(said), { code });
          },
        }),
    async close() {
      for (const way of ways.values()) await (await way.catch(() => undefined))?.agent.close().catch(() => {});
    },
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
