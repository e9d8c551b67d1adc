/** What the model of the demo harness can do: a shell and files in the sandbox, and the platform's tools. */
import { spawn } from 'node:child_process';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import type { AgentTool } from '../../tools-in-sandbox/platform.ts';
import type { HarnessEvent } from '../events.ts';

export type JsonObject = { readonly [key: string]: unknown };

export interface ToolOutcome {
  readonly text: string;
  readonly is_error: boolean;
  readonly exit_code?: number;
}

/** Characters of a tool's output that the model gets, and that are streamed. */
const BIGGEST_OUTPUT = 64 * 1024;
const BIGGEST_STREAM = 256 * 1024;
const BIGGEST_FILE = 1024 * 1024;
const TOOL_TIMEOUT_S = 120;
const LONGEST_TOOL_TIMEOUT_S = 600;

export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  readonly input_schema: JsonObject;
  /** Whether somebody is asked before, with `--approvals ask`. */
  readonly asks: boolean;
  run(input: JsonObject, id: string, signal: AbortSignal): Promise<ToolOutcome>;
}

const [TEXT, INTEGER] = [{ type: 'string' }, { type: 'integer' }];

export const TOOLS: readonly ToolSpec[] = [
  {
    name: 'bash',
    description: 'Runs a command in bash. What it leaves running in the background ends with it.',
    input_schema: schema({ command: TEXT }, { timeout_seconds: INTEGER }),
    asks: true,
    run: runBash,
  },
  {
    name: 'read',
    description: 'Reads a text file: all of it, or `limit` lines from line `offset` (the first is 1).',
    input_schema: schema({ path: TEXT }, { offset: INTEGER, limit: INTEGER }),
    asks: false,
    run: readTool,
  },
  {
    name: 'write',
    description: 'Writes a file, and the folders that it needs. What was in the file is replaced.',
    input_schema: schema({ path: TEXT, content: TEXT }),
    asks: true,
    run: writeTool,
  },
];

/** Under the names that Claude Code gives them. An agent without them is of more use than none. */
export async function platformTools(program: string | undefined): Promise<ToolSpec[]> {
  if (program === undefined) return [];
  try {
    const { connectTools } = (await import(pathToFileURL(program).href)) as typeof import('../../tools-in-sandbox/platform.ts');
    return (await connectTools()).map(fromPlatform);
  } catch (error) {
    emit({ type: 'notice', text: `The tools of the platform are not there: ${(error as Error).message}` });
    return [];
  }
}

function fromPlatform({ name, description, inputSchema, call }: AgentTool): ToolSpec {
  return {
    name: `mcp__centaur__${name}`,
    description,
    input_schema: inputSchema,
    // the platform asks
    asks: false,
    async run(input, _id, signal) {
      const { content, isError } = await call(input, signal);
      const output = createOutput();
      output.push(content.map((block) => (block.type === 'text' ? stringOf(block.text) : JSON.stringify(block))).join('\n'));
      return { text: output.read(), is_error: isError };
    },
  };
}

function schema(required: JsonObject, optional: JsonObject = {}): JsonObject {
  return { type: 'object', properties: { ...required, ...optional }, required: Object.keys(required) };
}

/**
 * The command has a group of processes of its own, and in it a process that waits for the other end of descriptor 3 to
 * close: when the command is done, when it is interrupted, and also when this program is killed. Then the group dies, and
 * nothing that the command started outlives it. It is disowned: the command may `wait` for what it has started itself.
 */
const BASH = `{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 </dev/null & disown; exec 3<&-; eval "$1"`;

function runBash(input: JsonObject, id: string, signal: AbortSignal): Promise<ToolOutcome> {
  const seconds = typeof input.timeout_seconds === 'number' ? Math.min(input.timeout_seconds, LONGEST_TOOL_TIMEOUT_S) : TOOL_TIMEOUT_S;
  const output = createOutput();
  const { promise, resolve: settle, reject } = Promise.withResolvers<ToolOutcome>();
  const child = spawn('bash', ['-c', BASH, 'bash', stringOf(input.command)], { detached: true, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  let why: string | undefined;
  let streamed = 0;

  const [, stdout, stderr, lifeline] = child.stdio as unknown as [null, Readable, Readable, Duplex];
  const endGroup = (): void => void lifeline.destroy();
  const kill = (reason: string): void => {
    why = reason;
    endGroup();
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // it has ended by itself
    }
  };
  const onAbort = (): void => kill('interrupted');
  const timer = setTimeout(() => kill(`ended after ${seconds} s`), seconds * 1000);
  signal.addEventListener('abort', onAbort, { once: true });

  const onText = (text: string): void => {
    output.push(text);
    if (streamed > BIGGEST_STREAM) return;
    streamed += text.length;
    emit({ type: 'tool_output.delta', id, text: streamed > BIGGEST_STREAM ? '\n[the rest is not streamed]\n' : text });
  };
  for (const stream of [stdout, stderr]) stream.setEncoding('utf8').on('data', onText);
  lifeline.on('error', () => {});
  child.on('exit', endGroup);
  child.on('error', reject);
  child.on('close', (code, ended) => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    const end = why ?? (ended === null ? (code === 0 ? undefined : `exit code ${code}`) : `killed by ${ended}`);
    const text = [output.read(), ...(end === undefined ? [] : [`[${end}]`])].filter((part) => part !== '').join('\n');
    settle({ text, is_error: end !== undefined, ...(code === null || why !== undefined ? {} : { exit_code: code }) });
  });
  return promise;
}

/** Two thirds of what the model gets are from the beginning of an output, one is from its end. */
function createOutput() {
  const headLength = Math.floor((BIGGEST_OUTPUT * 2) / 3);
  const tailLength = BIGGEST_OUTPUT - headLength;
  let head = '';
  let tail = '';
  let dropped = 0;
  return {
    push(text: string): void {
      const room = headLength - head.length;
      head += text.slice(0, room);
      tail += text.slice(room);
      if (tail.length <= tailLength * 2) return;
      dropped += tail.length - tailLength;
      tail = tail.slice(-tailLength);
    },
    read(): string {
      const over = Math.max(0, tail.length - tailLength);
      const end = tail.slice(over);
      const missing = dropped + over;
      return `${head}${missing === 0 ? '' : `\n[… ${missing} characters left out …]\n`}${end}`.trimEnd();
    },
  };
}

async function readTool(input: JsonObject): Promise<ToolOutcome> {
  await using file = await open(resolve(stringOf(input.path)));
  if (!(await file.stat()).isFile()) return { text: `${stringOf(input.path)} is not a file.`, is_error: true };
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BIGGEST_FILE), 0, BIGGEST_FILE, 0);
  const whole = buffer.toString('utf8', 0, bytesRead);
  const first = typeof input.offset === 'number' ? Math.max(1, input.offset) : 1;
  const last = typeof input.limit === 'number' ? first - 1 + input.limit : undefined;
  const output = createOutput();
  const lines = whole.split('\n').slice(first - 1, last);
  output.push(lines.join('\n'));
  return { text: output.read(), is_error: false };
}

async function writeTool(input: JsonObject): Promise<ToolOutcome> {
  const path = resolve(stringOf(input.path));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, stringOf(input.content));
  return { text: `Wrote ${Buffer.byteLength(stringOf(input.content))} bytes to ${path}.`, is_error: false };
}

/** Of this harness, on its standard output. */
export function emit(event: HarnessEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

export function stringOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
