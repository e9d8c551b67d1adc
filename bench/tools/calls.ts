/**
 * What a call of a tool takes, warm: arguments checked, policy, the entry in the audit log, the process in its sandbox, and for one that
 * asks a service the lease and the firewall. Beside it the same requests made directly, and a row that is committed by itself.
 */
import { Agent, request } from 'undici';
import { PRINCIPAL } from '../../test/support/firewall.ts';
import { createToolWorld, type ToolWorld } from '../../test/support/sandboxed-tools.ts';
import { quantile } from '../measure.ts';

const TOOL = (declared: string) => `import { defineTool, method } from '@centaur/sdk';
export default defineTool({
  name: 'measured',
  description: 'Measured.',
  hosts: ['${declared}'],
  methods: {
    read: method({ description: 'Answers.', risk: 'read', input: { type: 'object', properties: { i: { type: 'integer' } } }, run: (args: object) => args }),
    write: method({ description: 'Answers.', risk: 'write', input: { type: 'object', properties: { i: { type: 'integer' } } }, run: (args: object) => args }),
    ask: method({ description: 'Asks a service.', risk: 'read', input: { type: 'object', properties: { i: { type: 'integer' } } }, run: async () => (await fetch('https://${declared}/')).text() }),
  },
});
`;

export interface CallFigures {
  readonly name: string;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** @param count of calls of each kind, one after the other */
export async function measureCalls(count: number): Promise<readonly CallFigures[]> {
  await using world = await createToolWorld({ files: (declared) => [{ 'measured/tool.ts': TOOL(declared) }], secrets: {} });
  const { t, service } = world;
  const agent = new Agent({ connect: { ca: service.caPem } });
  await t.store.query('create table measured (n int)');
  try {
    return [
      await measure('a row committed by itself', count, (i) => t.store.query('insert into measured values ($1)', [i])),
      await measure('a method that only reads', count, (i) => call(world, 'read', i)),
      await measure('a method that writes', count, (i) => call(world, 'write', i)),
      await measure('a method that writes, under a key', count, (i) => call(world, 'write', i, `key-${i}`)),
      await measure('a request, directly', count, async () => {
        const { body } = await request(`https://localhost:${service.port}/`, { dispatcher: agent });
        await body.text();
      }),
      await measure('a method that makes this request', count, (i) => call(world, 'ask', i)),
    ];
  } finally {
    await agent.close();
  }
}

function call({ tools }: ToolWorld, method: string, i: number, idempotencyKey?: string): Promise<unknown> {
  return tools.call({ principal: PRINCIPAL }, { tool: 'measured', method, args: { i }, idempotencyKey });
}

async function measure(name: string, count: number, work: (i: number) => Promise<unknown>): Promise<CallFigures> {
  const times: number[] = [];
  const warm = Math.min(50, count);
  for (let i = 0; i < warm + count; i++) {
    const began = performance.now();
    await work(i);
    if (i >= warm) times.push(performance.now() - began);
  }
  return { name, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}
