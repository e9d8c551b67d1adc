/** What an agent has and where it can go, as its own tools tell it. */
import { readFileSync } from 'node:fs';
import type { Expect } from '../expect.ts';
import * as screen from '../screen.ts';
import type { Platform } from './platform.ts';
import type { Reader, Seen } from './reader.ts';

const FORBIDDEN = 'https://example.com/';
/** Whose refusal must be in the audit log. */
export const FORBIDDEN_HOST = new URL(FORBIDDEN).hostname;

/** The program that calls is the one of the act before: first without the proxy, then with it. */
export function callsScript(service: string): string {
  const client = readFileSync(new URL('../client.ts', import.meta.url)).toString('base64');
  const around = 'env -u HTTPS_PROXY -u https_proxy -u HTTP_PROXY -u http_proxy -u NODE_USE_ENV_PROXY';
  return [
    `run: echo ${client} | base64 -d > client.ts && ${around} node client.ts ${service}/v1/orders`,
    `run: node client.ts ${FORBIDDEN}`,
    `run: node client.ts ${service}/v1/orders`,
    'say: That is all.',
  ].join('\n');
}

export async function showEnvironment(witness: Reader, { keys }: Platform, expect: Expect): Promise<void> {
  const result = await witness.until('the environment', isToolResult);
  const held = new Map([...outputOf(result).matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]));
  const placeholders = [held.get('MODEL_KEY') ?? '', held.get('DEMO_API_KEY') ?? ''];
  for (const [name, value] of held) {
    if (placeholders.includes(value)) screen.line('completed', name, `${value.slice(0, 14)}… looks like a key, and is a placeholder`);
  }
  const proxy = (held.get('HTTPS_PROXY') ?? held.get('https_proxy') ?? '').replace(/:[^:@/]+@/, ':…@');
  screen.line('completed', 'HTTPS_PROXY', `${proxy}, the only way out`);
  expect(!placeholders.includes(''), 'the environment has no placeholders');
  expect(!Object.values(keys).some((key) => outputOf(result).includes(key)), 'the environment has a key');
}

export async function showCalls(witness: Reader, { service, keys }: Platform, expect: Expect): Promise<void> {
  const { service: serviceKey } = keys;
  const nth = async (n: number) => {
    await witness.until(`call ${n}`, () => witness.events.filter(isToolResult).length > n);
    return answerIn(outputOf(witness.events.filter(isToolResult)[n] as Seen));
  };
  const direct = await nth(1);
  const isolated = expect(
    direct.status === 0 && /ECONNREFUSED|ENETUNREACH/.test(direct.body),
    `a direct call came through: ${direct.body}`,
  );
  screen.line('killed', 'around the firewall', isolated ? `${direct.body}: there is no network in here` : direct.body);
  const forbidden = await nth(2);
  const refused = expect(
    forbidden.status === 403 || forbidden.body.includes('(403)'),
    `${FORBIDDEN} was not refused: ${forbidden.status} ${forbidden.body}`,
  );
  screen.line('killed', FORBIDDEN, refused ? '403 by the firewall: no rule opens that host' : forbidden.body);
  const allowed = await nth(3);
  const exchanged = expect(
    allowed.status === 200 && service.seen.length === 1 && service.seen[0] === `Bearer ${serviceKey}`,
    `the call through the firewall failed: ${allowed.status} ${allowed.body}`,
  );
  screen.line(exchanged ? 'completed' : 'killed', 'through the firewall', `${allowed.status}: the service saw the real key`);
  const blanked = expect(allowed.body.includes('*'.repeat(serviceKey.length)), `the key was not blanked: ${allowed.status}`);
  screen.line(blanked ? 'completed' : 'killed', 'the answer', `it echoed the key; the agent got ${allowed.body.slice(0, 60)}…`);
}

const isToolResult = ({ kind }: Seen): boolean => kind === 'tool_result';

function outputOf({ data }: Seen): string {
  const { content } = data;
  const blocks = Array.isArray(content) ? (content as { text?: string }[]) : [{ text: String(content) }];
  return blocks.map(({ text = '' }) => text).join('\n');
}

/** What `client.ts` wrote, among what a harness adds to it. */
function answerIn(output: string): { readonly status: number; readonly refused: string | null; readonly body: string } {
  const line = /\{"status":.*\}/.exec(output)?.[0];
  if (line === undefined) return { status: -1, refused: null, body: output };
  return JSON.parse(line) as { status: number; refused: string | null; body: string };
}
