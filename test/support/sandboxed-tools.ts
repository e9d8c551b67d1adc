/** Tools in sandboxes of their own, called as the server calls them, behind a real firewall: one world for many attempts. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createTools, type Tools } from '../../kernel/tools/index.ts';
import type { StoreLogEntry } from '../../kernel/store/index.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createSandboxedTools, createToolRunner } from '../../runtime/tools/index.ts';
import { createTestFirewall, type Service, startService, type TestFirewall } from './firewall.ts';
import { LIMITS, PYTHON } from './hosts.ts';
import { eventually } from './wait.ts';

export interface ToolWorld extends AsyncDisposable {
  readonly t: TestFirewall;
  /** The host that tools declare, and one that none declares, though the configuration opens it. */
  readonly service: Service;
  readonly other: Service;
  readonly tools: Tools;
  readonly runner: Awaited<ReturnType<typeof createToolRunner>>;
  /** Of everything that the server keeps: tools, views, sandboxes. */
  readonly root: string;
  /** Of this world's folders of tools, in their order. */
  readonly roots: readonly string[];
  readonly views: string;
  readonly sockets: string;
  readonly logged: StoreLogEntry[];
  /** Files that were kept, with their thread. */
  readonly kept: { readonly thread: string; readonly name: string; readonly data: string }[];
}

export interface ToolWorldParts {
  /** Each element is a folder of tools: path to text, or to the target of a link. */
  files(declared: string): readonly Readonly<Record<string, string | { readonly link: string }>>[];
  /** Name to value; all may go to both services. */
  readonly secrets: Readonly<Record<string, string>>;
}

export async function createToolWorld({ files, secrets }: ToolWorldParts): Promise<ToolWorld> {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await startService((_, response) => response.end('served')));
  const other = stack.use(await startService((_, response) => response.end('other')));
  const t = stack.use(await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } }));
  const hosts = [`localhost:${service.port}`, `localhost:${other.port}`];
  for (const [name, value] of Object.entries(secrets)) await t.secret(name, { value, hosts });
  const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-tools-'));
  stack.defer(() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 10 }));
  // sandboxes run as users of their own
  fs.chmodSync(root, 0o755);
  const state = path.join(root, 'state');
  fs.mkdirSync(state, { mode: 0o755 });
  const roots = files(hosts[0] as string).map((written, i) => {
    const dir = path.join(root, `tools${i}`);
    for (const [name, text] of Object.entries(written)) {
      const file = path.join(dir, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      if (typeof text === 'string') fs.writeFileSync(file, text);
      else fs.symlinkSync(text.link, file);
    }
    return dir;
  });

  const logged: StoreLogEntry[] = [];
  const log = (entry: StoreLogEntry): void => void logged.push(entry);
  const backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
  stack.defer(async () => {
    await eventually(async () => (await backend.list()).length === 0).catch(() => undefined);
    await backend.shutdown();
  });
  const sandboxes = createSandboxedTools({
    backend,
    installation: t.installation,
    firewall: `127.0.0.1:${t.firewall.port}`,
    postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    limits: LIMITS,
    python: PYTHON,
    stateDir: path.join(root, 'h'),
    log,
  });
  stack.defer(() => sandboxes.close());
  const runner = await createToolRunner({ dirs: roots, stateDir: state, watch: false, log, ...sandboxes });
  stack.defer(() => runner.close());
  await runner.settled();
  const kept: { thread: string; name: string; data: string }[] = [];
  const tools = await createTools({
    store: t.store,
    installation: t.installation,
    runner,
    log,
    async attach(thread, { name, mimeType, data }) {
      kept.push({ thread, name, data: data.toString() });
      return { attachment_id: `file-${kept.length}`, name, mime_type: mimeType, size: data.length };
    },
  });
  stack.defer(() => tools.close());
  const rest = stack.move();
  return {
    t,
    service,
    other,
    tools,
    runner,
    root,
    roots,
    views: path.join(state, 'tool-views'),
    sockets: path.join(root, 'h', `s${process.pid}`),
    logged,
    kept,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** A tool that does what its argument says. `line` is its own line to the server, `say` writes on it past its host program. */
export function nodeToolThatObeys(declared: string, more = ''): string {
  return `import { createRequire } from 'node:module';
import net from 'node:net';
import { defineTool, method, secret } from '@centaur/sdk';
const require = createRequire('/tools/');
const Attempt: any = Object.getPrototypeOf(async () => {}).constructor;
const line: any = (process as any)._getActiveHandles().find((each: any) => each instanceof net.Socket && each.listenerCount('data') > 0);
const say = (...all: any[]) => line.write(all.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)) + '\\n').join(''));
const run = (args: any, ctx: any) =>
  new Attempt('t', 'args', 'ctx', 'require', 'secret', 'line', 'say', args.code)(args.targets ?? {}, args, ctx, require, secret, line, say);
const input = { type: 'object', properties: { code: { type: 'string' } } } as const;
export default defineTool({
  ${declared},
  description: 'Obeys.',
  methods: {
    run: method({ description: 'Does it.', risk: 'write', timeout: '120s', input, run }),
    short: method({ description: 'Does it, for a moment.', risk: 'write', timeout: '3s', input, run }),
  },
});
${more}`;
}

/** The same in Python. */
export const PYTHON_TOOL_THAT_OBEYS = `import textwrap
from centaur_sdk import get_tool_context, secret
class Client:
    def run(self, code: str, targets: dict = {}):
        """Does it."""
        scope = {"t": targets, "secret": secret, "ctx": get_tool_context()}
        exec("def attempt():\\n" + textwrap.indent(code, "    "), scope)
        return scope["attempt"]()
def _client():
    return Client()
`;
