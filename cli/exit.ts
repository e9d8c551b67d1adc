/** Exit codes, and what an error becomes. */
import { CentaurApiError } from '@centaur/sdk';
import { paint, printable } from './output.ts';

export const EXIT = {
  ok: 0,
  /** The run or turn failed, or the command could not do what it was asked. */
  failed: 1,
  usage: 2,
  unreachable: 3,
  unauthorised: 4,
  notFound: 5,
  /** A replay came to another end than the run, or to a journal or a log that is not what was sealed. */
  different: 6,
  interrupted: 130,
} as const;

/** For the help. */
export const EXIT_CODES = `Exit codes:
  0    done
  1    the run or turn failed, or the command could not do what it was asked
  2    the command line or the environment is wrong
  3    the API cannot be reached
  4    no API key, or one that may not do this
  5    there is no such run, thread, workflow, key, secret or other thing of that name
  6    a replay differs from what was recorded, or what was recorded is not what was sealed
  130  interrupted`;

/** A command line that is wrong in a way that commander cannot see. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UsageError';
  }
}

/** Something that is worth a hint on how to go on. */
export class HintedError extends Error {
  readonly hint: string;
  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HintedError';
    this.hint = hint;
  }
}

export function explain(error: unknown, asJson: boolean): { readonly code: number; readonly message: string } {
  const code = exitCodeOf(error);
  if (asJson) return { code, message: JSON.stringify(toJson(error)) };
  const lines = [`${paint('red', 'error:', process.stderr)} ${printable(messageOf(error))}`];
  if (error instanceof CentaurApiError) lines.push(...issuesOf(error).map((issue) => `  ${printable(issue)}`));
  const hint = hintOf(error);
  if (hint !== undefined) lines.push(hint);
  return { code, message: lines.join('\n') };
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CentaurApiError) {
    if (error.status === 0) return EXIT.unreachable;
    if (error.status === 401 || error.status === 403) return EXIT.unauthorised;
    // The API answers 422 for it, since the route exists; for whoever typed the name it was not found
    return error.status === 404 || error.code === 'UNKNOWN_WORKFLOW' ? EXIT.notFound : EXIT.failed;
  }
  return error instanceof UsageError || (error instanceof Error && error.name === 'ConfigError') ? EXIT.usage : EXIT.failed;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Errors of ours say what happened; of anything else, the place is what helps
  const isOurs =
    error instanceof CentaurApiError ||
    error instanceof UsageError ||
    error instanceof HintedError ||
    ['ConfigError', 'StoreError', 'TypeError'].includes(error.name);
  return isOurs ? error.message : (error.stack ?? error.message);
}

function toJson(error: unknown): object {
  const { code, details, message } = error as { code?: unknown; details?: unknown; message?: unknown };
  return {
    code: typeof code === 'string' ? code : 'FAILED',
    message: String(message ?? error),
    ...(details === undefined ? {} : { details }),
  };
}

/** All that is wrong, when it is more than the message tells. */
function issuesOf(error: CentaurApiError): string[] {
  const issues = (error.details as { issues?: { path?: unknown; message?: unknown }[] } | undefined)?.issues ?? [];
  return Array.isArray(issues) && issues.length > 1 ? issues.map((issue) => `${String(issue.path)}: ${String(issue.message)}`) : [];
}

function hintOf(error: unknown): string | undefined {
  if (error instanceof HintedError) return error.hint;
  if (!(error instanceof CentaurApiError)) return undefined;
  if (error.status === 0) return 'Is it running? "centaur up" starts it here; CENTAUR_API_URL names one elsewhere.';
  if (error.status === 401 && error.message.includes('session')) return 'Sign in with "centaur login".';
  if (error.status === 401 && error.code === 'UNAUTHENTICATED')
    return 'Set CENTAUR_API_KEY. On the machine that made the database, the admin key is in admin.key in CENTAUR_HOME.';
  return HINTS[error.code];
}

/** How to go on from what threads refuse. */
const HINTS: Readonly<Record<string, string>> = {
  THREAD_NOT_FOUND: '"centaur threads ls" lists what there is; "centaur threads send" begins a thread.',
  EXECUTION_NOT_FOUND: '"centaur threads show <thread>" lists the turns of a thread.',
  ATTACHMENT_NOT_FOUND: '"centaur threads attachments <thread>" lists what a thread has.',
  ACTIVE_ASSIGNMENT_PROMPT_MISMATCH:
    'Leave --harness and --persona out to go on as it is, or end its assignment: centaur threads release <thread>',
  NO_INPUT: 'A turn that was asked for at the same time has taken it: centaur threads show <thread>',
  EXECUTION_NOT_RUNNING: 'Send it as a message, which the next turn answers: centaur threads send <thread> <text>',
  IDEMPOTENCY_PAYLOAD_MISMATCH: 'An id stands for one request: repeat that one as it was, or take another id.',
};
