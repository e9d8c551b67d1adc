/**
 * The one way from Slack to the inbox, whichever way it came: what is kept is stored before Slack is answered, and what could not be
 * stored is not acknowledged, so that Slack sends it again.
 */
import { CentaurApiError } from '@centaur/sdk';
import { PLATFORM, type SlackContext } from '../context.ts';
import type { Raw } from '../heard.ts';
import { classify, type Told } from './classify.ts';

/** Slack waits for three seconds; what it has waited for is then sent again anyway. */
const ACK_MS = 2_500;

export type Outcome =
  /** `answer`: what goes with the acknowledgement. */
  | { readonly kind: 'acknowledged'; readonly kept: 'stored' | 'known' | 'forgotten'; readonly answer?: Raw }
  /** Slack shall send it again. */
  | { readonly kind: 'later' }
  /** It will never be stored: larger than what the platform takes. */
  | { readonly kind: 'never' };

export interface Ears {
  /** Undefined while nobody knows yet who we are in Slack. */
  context(): SlackContext | undefined;
  /** What cannot wait for the inbox: a trigger of Slack's dies after three seconds. */
  openAtOnce(context: SlackContext, payload: Raw): Promise<Raw | undefined>;
}

export async function keep(told: Told, ears: Ears): Promise<Outcome> {
  const context = ears.context();
  if (context === undefined) return { kind: 'later' };
  const { api, log, now, self, settings } = context;
  const classified = classify(told, { self, rules: settings.rules, nowMs: now() });
  if (classified.what === 'forget') {
    log({ level: 'debug', message: 'not kept', kind: told.kind, why: classified.why });
    return { kind: 'acknowledged', kept: 'forgotten' };
  }
  const { eventId, conversation, heard } = classified;
  const late = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => late.resolve('late'), ACK_MS);
  try {
    // beside storing it: both have the same three seconds
    const opening =
      heard.kind !== 'interaction'
        ? undefined
        : ears.openAtOnce(context, heard.payload).catch((error: Error) => {
            log({ level: 'error', message: 'what was clicked could not be opened', error: error.message });
            return undefined;
          });
    const stored = await Promise.race([
      api.inbox.put({ platform: PLATFORM, eventId, conversation, body: heard }).catch((error: Error) => error),
      late.promise,
    ]);
    if (stored === 'late' || stored instanceof Error) return refusalOf(stored, told.kind, eventId, context);
    const answer = await Promise.race([opening, late.promise]);
    return {
      kind: 'acknowledged',
      kept: stored.created === true ? 'stored' : 'known',
      ...(answer === undefined || answer === 'late' ? {} : { answer }),
    };
  } finally {
    clearTimeout(timer);
  }
}

/** A request that is wrong by itself; a key that is not taken is another's to mend, and then it is. */
const NEVER = [400, 413, 422];

function refusalOf(problem: 'late' | Error, kind: Told['kind'], eventId: string, { log }: SlackContext): Outcome {
  const isHopeless = problem instanceof CentaurApiError && NEVER.includes(problem.status);
  log({
    level: isHopeless ? 'error' : 'warn',
    message: isHopeless ? 'the platform does not take it' : 'could not be stored in time; Slack sends it again',
    kind,
    event_id: eventId,
    error: problem === 'late' ? `no answer within ${ACK_MS} ms` : problem.message,
  });
  return { kind: isHopeless ? 'never' : 'later' };
}
