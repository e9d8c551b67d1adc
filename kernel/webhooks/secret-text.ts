/** Whether a text from an environment can be a secret. The vault asks the same of what is put into it. */

const LEAST = 8;
/** Of the standard webhooks' keys: it is no part of the secret. */
const PREFIX = 'whsec_';

export type SecretText = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly message: string };

/** Without the line break that a file or an editor left at the end. The message never quotes the text. */
export function readSecretText(given: string): SecretText {
  const text = given.replace(/\r?\n$/, '');
  if (text.trim() !== text || text === '') return { ok: false, message: 'is blank, or begins or ends with white space' };
  if (text.replace(PREFIX, '').length < LEAST) return { ok: false, message: `is shorter than ${LEAST} characters: anybody could guess it` };
  return { ok: true, text };
}
