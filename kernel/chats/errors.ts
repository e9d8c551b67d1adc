/** What this room refuses, by code, with the HTTP status that says so. */
const CHAT_ERRORS = {
  /** The code is wrong, over, or was used: which of them is not said. */
  LINK_CODE_INVALID: 404,
  /** The account is somebody else's: it has to be unlinked first. */
  LINK_TAKEN: 409,
  LINK_NOT_FOUND: 404,
  /** No code of the person was brought by the account, or it is over. */
  LINK_NOT_PENDING: 404,
  USER_DISABLED: 409,
  /** The person has as many codes open as they may. */
  TOO_MANY_CODES: 429,
  /** Not what Slack signed, or too old. */
  SIGNATURE_INVALID: 401,
  /** It has no signature, and nobody has said that it counts without. */
  SIGNATURE_REQUIRED: 403,
  /** It is no click under an approval. */
  NOT_AN_APPROVAL: 422,
  /** Where it was clicked may be a card that is not noted yet: to be sent again. */
  CARD_NOT_NOTED: 409,
  /** The server has no signing secret. */
  CHAT_NOT_CONFIGURED: 503,
  /** The notice is another consumer's by now, or was never this one's. */
  NOTICE_NOT_CLAIMED: 409,
} as const;

export type ChatErrorCode = keyof typeof CHAT_ERRORS;

export class ChatError extends Error {
  readonly code: ChatErrorCode;
  constructor(code: ChatErrorCode, message: string) {
    super(message);
    this.name = 'ChatError';
    this.code = code;
  }
  get httpStatus(): number {
    return CHAT_ERRORS[this.code];
  }
}
