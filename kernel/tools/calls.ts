/**
 * One call, in order: is the tool known and ready, do the arguments fit, was it made before, does the policy allow it; then the intent is
 * committed to the audit log, and only then is the tool's process asked. Nothing of the arguments or the result is in the log: their
 * digest is.
 */
import { answerOf, type Asking } from './dispatch.ts';
import { editOf, withEdit } from './edited.ts';
import { complain, msSince } from './entries.ts';
import { ToolError } from './errors.ts';
import { createIntents, type Intent } from './intent.ts';
import { createKeyed } from './keyed.ts';
import type { KnownCall } from './ledger.ts';
import { type CallAnswer, gone, unknown } from './outcome.ts';
import { type CallRequest, checkArguments, type Preparation, prepare, type Prepared } from './prepare.ts';
import { settle, type Settling } from './settle.ts';
import type { ToolCaller } from './types.ts';

export interface CallParts extends Preparation, Asking, Settling {
  /** Aborts when the process stops: nobody waits for a person any more then. */
  readonly closing: AbortSignal;
}

export function createCalls(parts: CallParts) {
  const { installation, runner, ledger, log } = parts;
  const intents = createIntents(installation, ledger);
  const keyed = createKeyed(ledger, make);

  return {
    /** @throws ToolError */
    async call(caller: ToolCaller, request: CallRequest): Promise<CallAnswer> {
      if (parts.closing.aborted) throw gone();
      const prepared = await prepare(parts, caller, request);
      const signal = request.signal === undefined ? parts.closing : AbortSignal.any([request.signal, parts.closing]);
      return prepared.key === undefined ? make(prepared, signal, signal) : keyed.join(prepared, prepared.key, request, signal);
    },
    /** What is wrong with arguments for `tool.method`; undefined when there is no such method here. */
    check(name: string, args: unknown): readonly string[] | undefined {
      const dot = name.indexOf('.');
      const method = runner.get(name.slice(0, dot))?.methods.find((each) => each.name === name.slice(dot + 1));
      if (method === undefined) return undefined;
      try {
        checkArguments(method, args);
        return [];
      } catch (error) {
        if (error instanceof ToolError) return [error.message];
        throw error;
      }
    },
  };

  /**
   * @param waiting aborts when nobody waits for a decision any more
   * @param signal aborts what has been begun
   * @param row of its key
   */
  async function make(call: Prepared, waiting: AbortSignal, signal: AbortSignal, row?: KnownCall): Promise<CallAnswer> {
    let intent: Intent;
    try {
      intent = await intents.record(call, row, waiting);
    } catch (error) {
      if (row !== undefined)
        void ledger.settle(async (tx) => void (await ledger.forget(tx, row))).catch((cause: Error) => complain(log, call, cause));
      throw error;
    }
    const started = performance.now();
    const outcome = withEdit(await answerOf(parts, intent.call, intent.id, signal), intent.edited);
    await settle(parts, intent, outcome, msSince(started));
    if (outcome.ok) return { callId: call.callId, result: outcome.result, repeated: false, ...editOf(intent.edited) };
    // whoever comes again under the key hears the same
    throw row !== undefined && outcome.unsure && !outcome.error.retryable ? unknown(call.callId) : outcome.error;
  }
}
