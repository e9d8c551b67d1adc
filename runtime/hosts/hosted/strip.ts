/**
 * TypeScript without its types, in a thread of its own: a file that is nested too deeply breaks the program that strips for as long as
 * its thread lives, and this process loads its own files with it. Nobody here has read the files.
 */
import { createHash } from 'node:crypto';
import { type MessagePort, MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';

interface Thread {
  /** Undefined: the thread is not to be used any more. */
  strip(source: string): { readonly code: string } | { readonly problem: string } | undefined;
  end(): void;
}

/** For a file. Who waits renews no lease meanwhile. */
const FILE_MS = 5_000;
/** Until the thread has started, on a machine that is busy. */
const START_MS = 20_000;
/** Sources that are not tried again, by their hash. */
const FAILED_MOST = 1000;

// that it may change is ours to know, and not the operator's
const PROGRAM = `
const { workerData: { port, done } } = require('node:worker_threads');
const { stripTypeScriptTypes } = require('node:module');
process.emitWarning = () => {};
port.on('message', (source) => {
  let answer;
  try {
    answer = { code: stripTypeScriptTypes(source) };
  } catch (error) {
    if (error instanceof SyntaxError) answer = { problem: error.message };
  }
  port.postMessage(answer);
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
});`;

let thread: Thread | undefined;
const failed = new Set<string>();

/**
 * Lines and columns stay.
 *
 * @throws SyntaxError for what cannot be stripped
 */
export function stripTypes(source: string): string {
  const hash = createHash('sha256').update(source).digest('base64');
  if (failed.has(hash)) throw unreadable();
  thread ??= startThread();
  const answer = thread.strip(source);
  if (answer === undefined) {
    thread.end();
    thread = undefined;
    if (failed.size === FAILED_MOST) failed.clear();
    failed.add(hash);
    throw unreadable();
  }
  if ('problem' in answer) throw new SyntaxError(answer.problem);
  return answer.code;
}

function unreadable(): SyntaxError {
  return new SyntaxError('it cannot be read: it may be nested too deeply');
}

function startThread(): Thread {
  const { port1: port, port2 } = new MessageChannel();
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(PROGRAM, { eval: true, workerData: { port: port2, done }, transferList: [port2], env: {}, execArgv: [] });
  // one that ends answers no more, which is seen
  worker.on('error', () => {});
  worker.unref();
  port.unref();
  let ms = START_MS;
  return {
    strip(source) {
      Atomics.store(done, 0, 0);
      port.postMessage(source);
      if (Atomics.wait(done, 0, 0, ms) === 'timed-out') return undefined;
      ms = FILE_MS;
      return answerOn(port);
    },
    end() {
      port.close();
      void worker.terminate();
    },
  };
}

function answerOn(port: MessagePort): ReturnType<Thread['strip']> {
  return receiveMessageOnPort(port)?.message;
}
