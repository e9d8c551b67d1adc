/**
 * Block Kit's limits (docs.slack.dev: Block Kit, blocks, elements, composition objects; views). Only what our renderer may
 * use is known; everything else is refused.
 */
import { anything, type Check, count, flag, list, object, oneOf, problem, text, typed } from './shapes.ts';
import type { Json } from './world.ts';

const plain = (max: number): Check => typed({ plain_text: object({ text: text(max) }, { emoji: flag }) });
const words = (max: number): Check =>
  typed({ plain_text: object({ text: text(max) }, { emoji: flag }), mrkdwn: object({ text: text(max) }, { verbatim: flag }) });

const BLOCK_ID = { block_id: text(255) };
const ACTION_ID = { action_id: text(255) };

const confirm = object({ title: plain(100), text: words(300), confirm: plain(30), deny: plain(30) }, { style: oneOf('primary', 'danger') });
const option = object({ text: words(75), value: text(150) }, { description: words(75), url: text(3000) });
const groups = list(object({ label: plain(75), options: list(option, 100) }), 100);
const menu = { ...ACTION_ID, placeholder: plain(150), confirm, focus_on_load: flag };
const input = { ...ACTION_ID, placeholder: plain(150), focus_on_load: flag, dispatch_action_config: anything };

const button = object(
  { text: plain(75) },
  { ...ACTION_ID, url: text(3000), value: text(2000), style: oneOf('primary', 'danger'), confirm, accessibility_label: text(75) },
);
const image = object({ alt_text: text(2000) }, { image_url: text(3000), slack_file: anything });
const feedback = object({ text: plain(75), value: text(2000) }, { accessibility_label: text(75) });

const ACTIONS = {
  button,
  static_select: object({}, { ...menu, options: list(option, 100), option_groups: groups, initial_option: option }),
  external_select: object({}, { ...menu, min_query_length: count, initial_option: option }),
  users_select: object({}, { ...menu, initial_user: text(255) }),
  conversations_select: object({}, { ...menu, initial_conversation: text(255), default_to_current_conversation: flag, filter: anything }),
  channels_select: object({}, { ...menu, initial_channel: text(255) }),
  overflow: object({ options: list(option, 5) }, { ...ACTION_ID, confirm }),
  datepicker: object({}, { ...menu, initial_date: text(10) }),
  timepicker: object({}, { ...menu, initial_time: text(5), timezone: text(255) }),
  checkboxes: object({ options: list(option, 10) }, { ...ACTION_ID, initial_options: list(option, 10), confirm, focus_on_load: flag }),
  radio_buttons: object({ options: list(option, 10) }, { ...ACTION_ID, initial_option: option, confirm, focus_on_load: flag }),
};
const multiple = object(
  {},
  { ...menu, options: list(option, 100), option_groups: groups, initial_options: list(option, 100), max_selected_items: count },
);
const INPUTS = {
  ...ACTIONS,
  multi_static_select: multiple,
  plain_text_input: object({}, { ...input, initial_value: text(3000, 0), multiline: flag, min_length: count, max_length: count }),
  number_input: object({ is_decimal_allowed: flag }, { ...input, initial_value: text(3000), min_value: text(255), max_value: text(255) }),
  email_text_input: object({}, { ...input, initial_value: text(3000) }),
  url_text_input: object({}, { ...input, initial_value: text(3000) }),
};

const rich = list(
  typed({
    rich_text_section: object({ elements: anything }),
    rich_text_list: object({ elements: anything, style: oneOf('bullet', 'ordered') }, { indent: count, offset: count, border: count }),
    rich_text_preformatted: object({ elements: anything }, { border: count, language: text(255) }),
    rich_text_quote: object({ elements: anything }, { border: count }),
  }),
  500,
  0,
);
const richText = object({ elements: rich }, BLOCK_ID);
const source = typed({ url: object({ url: text(3000), text: text(255) }) });
const taskCard = object(
  { task_id: text(255), title: text(255) },
  {
    ...BLOCK_ID,
    status: oneOf('pending', 'in_progress', 'complete', 'error'),
    details: typed({ rich_text: richText }),
    output: typed({ rich_text: richText }),
    sources: list(source, 50, 0),
  },
);

const EVERYWHERE = {
  section: object(
    {},
    { ...BLOCK_ID, text: words(3000), fields: list(words(2000), 10), accessory: typed({ ...INPUTS, image }), expand: flag },
  ),
  header: object({ text: plain(150) }, BLOCK_ID),
  divider: object({}, BLOCK_ID),
  context: object(
    {
      elements: list(
        typed({
          image,
          plain_text: object({ text: text(3000) }, { emoji: flag }),
          mrkdwn: object({ text: text(3000) }, { verbatim: flag }),
        }),
        10,
      ),
    },
    BLOCK_ID,
  ),
  actions: object({ elements: list(typed(ACTIONS), 25) }, BLOCK_ID),
  image: object({ alt_text: text(2000) }, { ...BLOCK_ID, image_url: text(3000), slack_file: anything, title: plain(2000) }),
  input: object({ label: plain(2000), element: typed(INPUTS) }, { ...BLOCK_ID, hint: plain(2000), optional: flag, dispatch_action: flag }),
  rich_text: richText,
};
const IN_MESSAGES = {
  ...EVERYWHERE,
  markdown: object({ text: text(12_000) }, BLOCK_ID),
  table: object(
    {
      rows: list(
        list(
          typed({
            // the empty cell is refused: a space stands in for it
            raw_text: object({ text: text(10_000) }),
            raw_number: object({ value: anything }, { text: text(255) }),
            rich_text: object({ elements: rich }),
          }),
          20,
        ),
        100,
      ),
    },
    {
      ...BLOCK_ID,
      column_settings: list(
        (value, at) => (value === null ? [] : object({}, { align: oneOf('left', 'center', 'right'), is_wrapped: flag })(value, at)),
        20,
        0,
      ),
    },
  ),
  context_actions: object(
    {
      elements: list(
        typed({
          feedback_buttons: object({ positive_button: feedback, negative_button: feedback }, ACTION_ID),
          icon_button: object(
            { icon: oneOf('trash'), text: plain(75) },
            { ...ACTION_ID, value: text(2000), confirm, accessibility_label: text(75) },
          ),
        }),
        5,
      ),
    },
    BLOCK_ID,
  ),
  task_card: taskCard,
  plan: object({ title: text(255) }, { ...BLOCK_ID, tasks: list(typed({ task_card: taskCard }), 50, 0) }),
};

/** @returns what Slack says of the blocks of a message; none when they are right */
export function checkMessageBlocks(blocks: unknown): string[] {
  const problems = list(typed(IN_MESSAGES), 50, 0)(blocks, '/blocks');
  return problems.length > 0
    ? problems
    : [...checkTogether(blocks as readonly Json[], '/blocks'), ...checkMarkdown(blocks as readonly Json[])];
}

/** More than one table is another error (invalid_attachments), so it is asked apart. */
export function tablesOf(blocks: readonly Json[]): readonly Json[] {
  return blocks.filter((block) => block.type === 'table');
}

/** "The cumulative limit for all markdown blocks in a single payload is 12,000" (docs: markdown block). */
function checkMarkdown(blocks: readonly Json[]): string[] {
  const length = blocks.reduce((sum, block) => sum + (block.type === 'markdown' ? String(block.text).length : 0), 0);
  const characters = JSON.stringify(tablesOf(blocks).map((table) => table.rows)).matchAll(/"text":"((?:[^"\\]|\\.)*)"/g);
  const inCells = [...characters].reduce((sum, [, cell]) => sum + (JSON.parse(`"${cell}"`) as string).length, 0);
  return [
    ...(length > 12_000 ? [problem('must be less than 12001 characters', '/blocks')] : []),
    ...(inCells > 10_000 ? [problem('table cells must be less than 10001 characters together', '/blocks')] : []),
  ];
}

/** What only shows when blocks are seen together. */
function checkTogether(blocks: readonly Json[], at: string): string[] {
  const problems: string[] = [];
  const ids = new Set<string>();
  for (const [place, block] of blocks.entries()) {
    const here = `${at}/${place}`;
    if (typeof block.block_id === 'string') {
      if (ids.has(block.block_id)) problems.push(problem(`block_id already exists: ${block.block_id}`, `${here}/block_id`));
      ids.add(block.block_id);
    }
    if (block.type === 'section' && block.text === undefined && block.fields === undefined)
      problems.push(problem('missing required field: text', here));
    if (block.type === 'image' && block.image_url === undefined && block.slack_file === undefined)
      problems.push(problem('missing required field: image_url', here));
    if (block.type === 'actions') {
      const actions = (block.elements as readonly Json[]).map((element) => element.action_id).filter((id) => id !== undefined);
      if (new Set(actions).size < actions.length) problems.push(problem('action_id must be unique', `${here}/elements`));
    }
  }
  return problems;
}

const VIEW_TEXTS = { close: plain(24), submit: plain(24) };
const VIEW_FIELDS = { private_metadata: text(3000, 0), callback_id: text(255), external_id: text(255, 0) };
const VIEW = typed({
  modal: object(
    { title: plain(24), blocks: list(typed(EVERYWHERE), 100, 0) },
    { ...VIEW_TEXTS, ...VIEW_FIELDS, clear_on_close: flag, notify_on_close: flag, submit_disabled: flag },
  ),
  home: object({ blocks: list(typed(EVERYWHERE), 100, 0) }, VIEW_FIELDS),
});

/** @returns what Slack says of a view; none when it is right */
export function checkView(view: unknown): string[] {
  const problems = VIEW(view, '/view');
  if (problems.length > 0) return problems;
  const { blocks, submit, type } = view as { readonly blocks: readonly Json[]; readonly submit?: unknown; readonly type: string };
  const needsSubmit = type === 'modal' && submit === undefined && blocks.some((block) => block.type === 'input');
  return [
    ...checkTogether(blocks, '/view/blocks'),
    // docs: modals: "submit is required when an input block is within the blocks array"
    ...(needsSubmit ? [problem('missing required field: submit', '/view')] : []),
  ];
}
