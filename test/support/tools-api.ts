/** The platform's own API with tools that a test scripts, for agents in sandboxes. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { createApi } from '../../kernel/api/index.ts';
import { createTools, type Tools } from '../../kernel/tools/index.ts';
import type { TestAgents } from './agents.ts';
import { createScriptedRunner, type ScriptedRunner } from './tools.ts';

export interface ToolsApi extends AsyncDisposable {
  /** Agents are told of it before it is there: `host:port`. */
  readonly address: string;
  /** What it serves, and what its tools do. */
  readonly runner: ScriptedRunner;
  /** On the database of these agents, from here on. Answers what is served. */
  open(agents: TestAgents): Promise<Tools>;
}

export async function prepareToolsApi(): Promise<ToolsApi> {
  await using cleanup = new AsyncDisposableStack();
  const target = Promise.withResolvers<number>();
  const ahead = createServer((socket) => {
    void target.promise.then((port) => {
      const onward = connect(port, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      for (const [end, other] of [
        [socket, onward],
        [onward, socket],
      ] as const)
        end.on('error', () => {}).on('close', () => other.destroy());
    });
  });
  await once(ahead.listen(0, '127.0.0.1'), 'listening');
  cleanup.defer(() => void ahead.close());
  const runner = createScriptedRunner();
  const kept = cleanup.move();
  return {
    address: `127.0.0.1:${(ahead.address() as AddressInfo).port}`,
    runner,
    async open({ worker, trust }) {
      const { engine, registry, store, threads } = worker;
      const { installation } = trust;
      const tools = await createTools({ store, installation, runner });
      kept.defer(() => tools.close());
      const api = createApi({ version: '1', engine, registry, store, threads, trust: { installation }, tools, log: () => {} });
      kept.defer(() => api.close(0));
      target.resolve(Number(new URL((await api.listen({ host: '127.0.0.1', port: 0 })).url).port));
      return tools;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
