/** What went wrong, in words for whoever asked; what the machine said of it is in the trace. */

export interface Problem {
  readonly kind: string;
  /** One sentence, and what to do. */
  readonly words: string;
}

/** @param kind the class of an error event, or the reason with which a turn ended */
export function describeProblem(kind: string): Problem {
  return { kind, words: WORDS[kind] ?? 'The agent could not go on.' };
}

const WORDS: Readonly<Record<string, string>> = {
  auth: 'The model provider refused our credentials. An operator has to renew them.',
  rate_limit: 'The model provider takes no more requests from us for now. Ask again in a few minutes.',
  overloaded: 'The model provider is overloaded. Ask again in a few minutes.',
  network: 'The model provider could not be reached. Ask again in a few minutes.',
  policy: 'The model provider refused to answer this.',
  invalid_request: 'The model provider did not accept the request. Asking in a new thread may help.',
  harness: 'The agent broke off. Ask again.',
  protocol: 'The agent said something that could not be read. Ask again.',
  harness_error: 'The agent broke off. Ask again.',
  harness_missing: 'The agent is not installed where it should run. An operator has to install it.',
  harness_auth_failed: 'The agent could not sign in to its model provider. An operator has to renew its credentials.',
  harness_crashed: 'The agent died in the middle of the turn. Ask again.',
  sandbox_unavailable: 'No sandbox could be started for this thread. Ask again in a few minutes.',
  sandbox_lost: 'The sandbox of this thread was lost in the middle of the turn. Ask again.',
  silence_deadline_exceeded: 'The agent said nothing for too long and was stopped. Ask again.',
  hard_deadline_exceeded: 'The turn took longer than it may and was stopped. Ask for less at once.',
  budget_exceeded: 'The budget for this is used up. An operator can raise it.',
  execution_error: 'The turn failed. Ask again.',
};
