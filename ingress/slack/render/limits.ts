/** What Slack takes, and what we take of it. Where Slack's own documents are silent the figure is what bots in the field found to hold. */
export const LIMITS = {
  /** Blocks of a message. */
  blocks: 50,
  /** Characters of one text of a block; documented for sections, kept for rich text too. */
  blockText: 3_000,
  headerText: 150,
  /** Characters of all blocks of one message: with more Slack answers `msg_blocks_too_long`, earlier than it says anywhere. */
  messageText: 12_000,
  /** Characters of `text` beside blocks, which shows in notifications: `chat.update` takes no more. */
  fallbackText: 4_000,
  /** Slack takes 3,000; the label has to fit into the same text. */
  url: 2_000,
  tableRows: 100,
  tableColumns: 20,
  tableText: 10_000,
  listIndent: 8,

  /** Characters of an answer that are shown in messages. Of a longer one the whole is attached. */
  answer: 35_000,
  /** Messages of one answer: one of nothing but rules would be hundreds. */
  messages: 5,

  /** Slack closes a stream about 300 s after its start, whatever is appended. */
  streamMs: 240_000,
  /** Markdown of one stream in characters. */
  streamText: 11_500,
  /** Text and cards of one stream together, in bytes of UTF-8: over about 11,000 Slack answers `msg_too_long`. */
  streamBytes: 11_000,
  cards: 50,
  /** All that the cards of a stream say, in bytes of UTF-8. */
  cardBytes: 9_000,
  /** One field of a chunk, in characters. */
  chunkField: 256,

  /** Between two edits of a message. */
  updateEveryMs: 1_200,
  /** Between two pieces appended to a stream. */
  appendEveryMs: 600,
} as const;

/** Calls a minute, for the whole workspace: Slack's tiers. */
export const CALLS_PER_MINUTE = {
  'chat.startStream': 20,
  'chat.appendStream': 100,
  'chat.stopStream': 20,
  'chat.update': 50,
  'chat.postMessage': 60,
  'chat.delete': 50,
  'files.upload': 20,
} as const;
