/**
 * The workflow host for TypeScript and JavaScript, as a program of its own: it holds workflow files and runs their
 * handlers, for a worker that tells it what to do over a pipe (docs: `host-protocol.md`). The same program runs under
 * Node and under Deno.
 *
 * It promises that it keeps nothing that matters: killed at any moment, its runs go on elsewhere from their last
 * checkpoint. It reads no configuration but its environment, and imports nothing but its own files, the SDK and what
 * the runtime brings along, so that it runs in a sandbox where only these are.
 *
 * Read `catalog.ts` for what is loaded, `host.ts` for what each message does, `run.ts` for how calls and answers meet,
 * `context.ts` for what a handler gets, `steps.ts` for who runs a step's function when.
 */
import * as modules from 'node:module';
import { LINE_MOST } from '../protocol/messages.ts';
import { loadCatalog } from './catalog.ts';
import { createHost } from './host.ts';
import { afterMicrotasks, createLineReader, createOutbox } from './lines.ts';
import { isDeno, openTransport, printToStandardError } from './transport.ts';

const { WORKFLOW_DIRS = '', WORKFLOW_FILE } = process.env;

const { input, output } = openTransport();
printToStandardError();
// one handler's forgotten promise is no reason for the others to end
process.on('unhandledRejection', (reason) => console.error('a promise was rejected and nobody handled it:', reason));

const outbox = createOutbox((text) => output.write(text));
const loading = loadCatalog(WORKFLOW_DIRS.split(':').filter(Boolean), WORKFLOW_FILE);
loading.catch((error: unknown) => {
  console.error('the workflow files cannot be loaded:', error);
  process.exit(1);
});
// Deno's clock begins with the process: a lease cannot be told in it
const host = createHost(loading, outbox, isDeno ? undefined : () => Number(process.hrtime.bigint()) / 1e6);
const readChunk = createLineReader(LINE_MOST, host.read);

input.on('data', readChunk);
input.on('end', () => void host.idle().then(() => afterMicrotasks(leave)));
for (const stream of [input, output]) stream.on('error', () => process.exit(1));

// a host is ended without a word, and what was compiled would be lost for the next one; Deno keeps its own
if (!isDeno) setTimeout(modules.flushCompileCache, 1000).unref();

function leave(): void {
  output.write('', () => process.exit(0));
}
