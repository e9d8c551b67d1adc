/**
 * The tool host for TypeScript and JavaScript, as a program of its own: it holds the files of one tool and runs its methods, for
 * whoever tells it to over a pipe (docs: `host-protocol.md`). Asked what tools are, it loads many of them, and runs none.
 *
 * It promises that calls do not wait for each other, that each gets one answer, and that it keeps nothing that matters. Like the
 * workflow host it imports nothing but its own files, the SDK and what the runtime brings along, under Node as under Deno.
 *
 * Read `tool-definition.ts` for what a file declares, `tool-host.ts` for what each message does.
 */
import * as modules from 'node:module';
import { TOOL_LINE_MOST } from '../protocol/messages.ts';
import { afterMicrotasks, createLineReader, createOutbox } from './lines.ts';
import { createToolHost } from './tool-host.ts';
import { isDeno, openTransport, printToStandardError } from './transport.ts';

const { TOOL_ROOT = '', TOOL_FILE = '', TOOL_STRIPPED } = process.env;

const { input, output } = openTransport();
printToStandardError();
// one method's forgotten promise is no reason for the calls of others to end
process.on('unhandledRejection', (reason) => console.error('a promise was rejected and nobody handled it:', reason));

const outbox = createOutbox((text) => output.write(text));
const host = createToolHost({ root: TOOL_ROOT, file: TOOL_FILE === '' ? undefined : TOOL_FILE, stripped: TOOL_STRIPPED }, outbox);

input.on('data', createLineReader(TOOL_LINE_MOST, host.read));
// code that was loaded may have taken the gentler ways out
input.on('end', () => afterMicrotasks(() => output.write('', () => process.kill(process.pid, 'SIGKILL'))));
for (const stream of [input, output]) stream.on('error', () => process.exit(1));

// a host is ended without a word, and what was compiled would be lost for the next one; Deno keeps its own
if (!isDeno) setTimeout(modules.flushCompileCache, 1000).unref();
