/** What went wrong, in words that help whoever called: Playwright's own are pages long, and Chromium's are codes. */
import { ToolFailure } from '@centaur/sdk';
import type { Events } from './sessions.ts';
import { HOSTS } from './settings.ts';

/** The service or the firewall may answer another time. */
const AGAIN = new Set(['UPSTREAM_FAILED', 'UPSTREAM_TIMEOUT', 'SECRET_UNAVAILABLE', 'RATE_LIMITED']);

/**
 * @param what was opened, or done something with
 * @param refusedBy code of the firewall, where it is known
 */
export function failureOf(error: unknown, what: string, events?: Events, refusedBy?: string): unknown {
  if (error instanceof ToolFailure || !(error instanceof Error)) return error;
  const { name, message } = error;
  const refusal = events?.refused.at(-1);
  if (refusedBy !== undefined) return refused(new URL(what).host, refusedBy, wordsIn(message), error);
  const net = /net::(ERR_[A-Z_]+)(?: at (\S+))?/.exec(message);
  if (net !== null) {
    const [, code = '', at] = net;
    if (/TUNNEL|PROXY/.test(code) && refusal !== undefined) return refused(refusal.host, refusal.code, refusal.message, error);
    if (events?.download !== undefined) return download(events.download, error);
    if (code.startsWith('ERR_CERT'))
      return new ToolFailure('CERTIFICATE', `${at ?? what} has a certificate that is not right: ${code}.`, { cause: error });
    return new ToolFailure('UNREACHABLE', `${at ?? what} could not be opened: ${code}.`, { cause: error, retryable: true });
  }
  if (/Download is starting/.test(message)) return download(events?.download ?? '', error);
  if (name === 'TimeoutError') return late(message, what, error);
  if (/Unknown key/.test(message)) return new ToolFailure('BAD_KEY', `There is no key ${what}.`, { cause: error });
  if (/options?.*not found|did not find some options/i.test(message))
    return new ToolFailure('NO_OPTION', `The ${what} has no such option; "read" with the format forms lists them.`, { cause: error });
  if (/not an? <?(input|checkbox|textarea|select)|cannot be filled|contenteditable/i.test(message))
    return new ToolFailure('NOT_A_FIELD', `The ${what} takes no such value: ${first(message)}`, { cause: error });
  return error;
}

function refused(host: string, code: string, message: string, cause: Error): ToolFailure {
  const advice =
    code === 'HOST_NOT_DECLARED'
      ? ` It is not among the sites that an operator has named by ${HOSTS} in tools.env of centaur.yaml.`
      : ' The audit log has the reason.';
  return new ToolFailure(code, `The firewall refused ${host}${message === '' ? '' : `: ${message}`}.${advice}`, {
    cause,
    retryable: AGAIN.has(code),
  });
}

function download(name: string, cause: Error): ToolFailure {
  return new ToolFailure('DOWNLOAD', `That is a file to download${name === '' ? '' : ` (${name})`}, which this browser does not take.`, {
    cause,
  });
}

/** The last reasons why nothing could be done with the element. */
function late(message: string, what: string, cause: Error): ToolFailure {
  const reasons = message
    .split('\n')
    .map((line) => line.replace(/^[\s-]+/, '').trim())
    .filter((line) => /not (visible|enabled|stable|editable)|intercepts pointer events|outside of the viewport/.test(line));
  const last = [...new Set(reasons)].slice(-2).join('; ');
  if (last !== '') return new ToolFailure('NOT_POSSIBLE', `Nothing could be done with the ${what}: ${last.slice(0, 500)}.`, { cause });
  return new ToolFailure('TIMEOUT', `${what} took too long: ${first(message)}`, { cause, retryable: true });
}

function wordsIn(text: string): string {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    return typeof message === 'string' ? message.slice(0, 500) : '';
  } catch {
    return '';
  }
}

const first = (message: string): string => (message.split('\n')[0] ?? '').slice(0, 300);
