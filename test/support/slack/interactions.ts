/** What people do with what the app shows them: click, choose, submit, close, give commands; each becomes the payload that Slack sends. */
import { parseJson, SlackError } from './api.ts';
import type { Delivery, Outcome } from './delivery.ts';
import type { ResponseUrls } from './response-urls.ts';
import { type View, type Views, wireView } from './views.ts';
import { APP, type Channel, clean, findMessage, type Json, type Message, TEAM, type User, wireMessage, type World } from './world.ts';

/** What became of it, as the person notices. */
export interface Interaction {
  /** Otherwise the person sees "operation timed out" or "did not respond". */
  readonly acknowledged: boolean;
  readonly status?: number;
  readonly answer: unknown;
  /** A modal's fields that were refused: block id to what was said. */
  readonly errors?: Readonly<Record<string, string>>;
  /** What Slack could not take of the answer; the person sees "We had some trouble connecting". */
  readonly problem?: string;
  readonly triggerId: string;
  readonly responseUrl?: string;
}

/** Where a click happens. */
export type Surface =
  | { readonly kind: 'message'; readonly channel: string; readonly ts: string }
  | { readonly kind: 'ephemeral'; readonly channel: string; readonly ts: string }
  | { readonly kind: 'view'; readonly view: string };

/** What is typed or chosen: text, an option's value, or several of them. */
export type Entered = string | readonly string[];

export interface Interactions {
  act(user: User, on: Surface, actionId: string, entered?: Entered): Promise<Interaction>;
  submit(user: User, view: string, values: Readonly<Record<string, Entered>>): Promise<Interaction>;
  close(user: User, view: string): Promise<void>;
  command(user: User, channel: Channel, command: string, text: string): Promise<Interaction>;
}

interface Options {
  readonly world: World;
  readonly url: string;
  readonly delivery: Delivery;
  readonly views: Views;
  readonly responseUrls: ResponseUrls;
  readonly commands: readonly string[];
}

export function createInteractions({ world, url, delivery, views, responseUrls, commands }: Options): Interactions {
  return {
    async act(user, on, actionId, entered) {
      const { block, element } = findElement(blocksOn(on), actionId);
      const triggerId = views.newTrigger(user.user_id, on.kind === 'view' ? on.view : undefined);
      const action = clean({
        ...actionOf(element, entered),
        type: element.type,
        action_id: actionId,
        block_id: block.block_id,
        action_ts: world.nextTs(),
      });
      const shown = surfacePayload(on, user);
      const path = on.kind === 'view' ? undefined : shown.responsePath;
      const body = {
        type: 'block_actions',
        ...common(user),
        trigger_id: triggerId,
        ...shown.payload,
        ...(path === undefined ? {} : { response_url: `${url}${path}` }),
        actions: [action],
      };
      const outcome = await delivery.interaction({ kind: 'interactive', body });
      return { ...noticed(outcome), triggerId, ...(path === undefined ? {} : { responseUrl: `${url}${path}` }) };
    },
    async submit(user, id, values) {
      const view = views.keepState(id, stateOf(openView(user, id), values));
      const triggerId = views.newTrigger(user.user_id, id);
      const body = { type: 'view_submission', ...common(user), trigger_id: triggerId, view: wireView(view), response_urls: [] };
      const outcome = await delivery.interaction({ kind: 'interactive', body });
      if (!outcome.acknowledged) return { ...noticed(outcome), triggerId };
      return { ...noticed(outcome), ...settle(user, view, outcome), triggerId };
    },
    async close(user, id) {
      const view = openView(user, id);
      views.close(id);
      if (!view.notify_on_close) return;
      const body = { type: 'view_closed', ...common(user), view: wireView(view), is_cleared: false };
      await delivery.interaction({ kind: 'interactive', body });
    },
    async command(user, channel, command, text) {
      if (!commands.includes(command)) throw new Error(`${command} is not a valid command: the app has ${commands.join(', ')}.`);
      const triggerId = views.newTrigger(user.user_id);
      const place = { channel: channel.channel_id, user: user.user_id };
      const responseUrl = `${url}${responseUrls.open(place)}`;
      const body = {
        token: 'deprecated',
        team_id: TEAM.id,
        team_domain: TEAM.domain,
        channel_id: channel.channel_id,
        channel_name: channel.is_im === true ? 'directmessage' : channel.is_private ? 'privategroup' : channel.name,
        user_id: user.user_id,
        user_name: user.name,
        command,
        text,
        api_app_id: APP.appId,
        is_enterprise_install: 'false',
        response_url: responseUrl,
        trigger_id: triggerId,
      };
      const outcome = await delivery.interaction({ kind: 'slash', body });
      const seen = noticed(outcome);
      const said = typeof seen.answer === 'string' ? { text: seen.answer } : (seen.answer as Json | undefined);
      const result = { ...seen, triggerId, responseUrl };
      if (!outcome.acknowledged || said === undefined || ((said.text ?? '') === '' && said.blocks === undefined)) return result;
      try {
        responseUrls.say(place, said);
        return result;
      } catch (error) {
        return { ...result, problem: (error as Error).message };
      }
    },
  };

  function common(user: User): Json {
    return {
      user: { id: user.user_id, username: user.name, name: user.name, team_id: user.team_id },
      api_app_id: APP.appId,
      token: 'deprecated',
      team: { id: TEAM.id, domain: TEAM.domain },
      enterprise: null,
      is_enterprise_install: false,
    };
  }

  function blocksOn(on: Surface): readonly Json[] {
    if (on.kind === 'view') return views.find(on.view)?.view.blocks ?? [];
    if (on.kind === 'message') return findMessage(world, on.channel, on.ts)?.blocks ?? [];
    return world.ephemerals.find(({ ts }) => ts === on.ts)?.blocks ?? [];
  }

  function surfacePayload(on: Surface, user: User): { readonly payload: Json; readonly responsePath?: string } {
    if (on.kind === 'view') {
      const found = views.find(on.view);
      if (found === undefined || found.user !== user.user_id) throw new Error(`${user.name} does not see the view ${on.view}.`);
      return { payload: { container: { type: 'view', view_id: on.view }, view: wireView(found.view), state: found.view.state } };
    }
    const { channel, ts } = on;
    const isEphemeral = on.kind === 'ephemeral';
    const message = isEphemeral ? undefined : (findMessage(world, channel, ts) as Message);
    const threadTs = message?.thread_ts ?? world.ephemerals.find((one) => one.ts === ts)?.thread_ts;
    const channelName = world.channels.findOneBy('channel_id', channel)?.name ?? '';
    const place = { channel, user: user.user_id, threadTs, original: { ts, isEphemeral } };
    return {
      responsePath: responseUrls.open(place),
      payload: clean({
        container: clean({ type: 'message', message_ts: ts, channel_id: channel, is_ephemeral: isEphemeral, thread_ts: threadTs }),
        channel: { id: channel, name: channelName },
        // of an ephemeral message the app gets only where it was
        message: message === undefined ? undefined : wireMessage(world, message),
        state: { values: stateIn(message?.blocks ?? []) },
      }),
    };
  }

  function openView(user: User, id: string): View {
    const view = views.modals(user.user_id).find((one) => one.id === id);
    if (view === undefined) throw new Error(`${user.name} has no modal ${id} open.`);
    return view;
  }

  /** What the answer to a submission does to the modal. */
  function settle(user: User, view: View, outcome: Outcome): Pick<Interaction, 'errors' | 'problem'> {
    const answer = noticed(outcome).answer as Json | undefined;
    const action = typeof answer === 'object' && answer !== null ? answer.response_action : undefined;
    try {
      if (action === 'errors') {
        const errors = answer?.errors as Readonly<Record<string, string>>;
        const inputs = view.blocks.filter(({ type }) => type === 'input').map((block) => block.block_id);
        const unknown = Object.keys(errors).find((id) => !inputs.includes(id));
        return unknown === undefined ? { errors } : { problem: `errors: ${unknown} is no input block of the view` };
      }
      if (action === 'update') views.replace(view.id, answer?.view);
      else if (action === 'push') views.push(user.user_id, view.id, answer?.view);
      else if (action === 'clear') views.closeAll(user.user_id);
      else if (action === undefined && (answer === undefined || typeof answer === 'object')) views.close(view.id);
      else return { problem: `The answer to a submission is empty or has a response_action; this was ${JSON.stringify(answer)}.` };
      return {};
    } catch (error) {
      if (error instanceof SlackError) return { problem: JSON.stringify(error.answer) };
      throw error;
    }
  }
}

function noticed({ acknowledged, status, answer = '' }: Outcome): Omit<Interaction, 'triggerId'> {
  return { acknowledged, ...(status === undefined ? {} : { status }), answer: answer === '' ? undefined : parseJson(answer) };
}

/** The elements of a block that can be acted on. */
function elementsOf(block: Json): readonly Json[] {
  const { elements, accessory, element } = block as { elements?: unknown; accessory?: Json; element?: Json };
  return [
    ...(Array.isArray(elements) ? (elements as Json[]) : []),
    ...(accessory === undefined ? [] : [accessory]),
    ...(element === undefined ? [] : [element]),
  ];
}

function findElement(blocks: readonly Json[], actionId: string): { readonly block: Json; readonly element: Json } {
  for (const block of blocks) for (const element of elementsOf(block)) if (element.action_id === actionId) return { block, element };
  const known = blocks.flatMap((block) => elementsOf(block).map((element) => element.action_id));
  throw new Error(`Nobody can click ${actionId}: there are ${known.join(', ') || 'no elements'}.`);
}

/** What a payload says of the element that was acted on, besides its names. */
function actionOf(element: Json, entered: Entered | undefined): Json {
  const { type } = element;
  if (type === 'button') return { text: element.text, value: element.value, style: element.style };
  if (type === 'feedback_buttons') return { value: entered };
  return valueOf(element, entered);
}

/** The state of an element. */
function valueOf(element: Json, entered: Entered | undefined): Json {
  const one = typeof entered === 'string' ? entered : entered?.[0];
  const option = (value: string | undefined) => optionsOf(element).find((each) => each.value === value) ?? null;
  switch (element.type) {
    case 'static_select':
    case 'external_select':
    case 'radio_buttons':
    case 'overflow':
      return { selected_option: one === undefined ? (element.initial_option ?? null) : chosen(element, option(one), one) };
    case 'multi_static_select':
    case 'checkboxes': {
      const many = typeof entered === 'string' ? [entered] : entered;
      return {
        selected_options: many === undefined ? (element.initial_options ?? []) : many.map((each) => chosen(element, option(each), each)),
      };
    }
    case 'users_select':
      return { selected_user: one ?? element.initial_user ?? null };
    case 'conversations_select':
      return { selected_conversation: one ?? element.initial_conversation ?? null };
    case 'channels_select':
      return { selected_channel: one ?? element.initial_channel ?? null };
    case 'datepicker':
      return { selected_date: one ?? element.initial_date ?? null };
    case 'timepicker':
      return { selected_time: one ?? element.initial_time ?? null };
    default:
      return { value: one ?? element.initial_value ?? null };
  }
}

function chosen(element: Json, option: Json | null, value: string): Json {
  if (option === null) throw new Error(`${String(element.action_id)} has no option ${value}.`);
  return option;
}

function optionsOf(element: Json): readonly Json[] {
  const groups = (element.option_groups ?? []) as readonly { readonly options: readonly Json[] }[];
  return [...((element.options ?? []) as readonly Json[]), ...groups.flatMap(({ options }) => options)];
}

function stateIn(blocks: readonly Json[]): Json {
  const stateful = blocks.flatMap((block) =>
    elementsOf(block)
      .filter(
        ({ type, action_id: id }) =>
          id !== undefined && type !== 'button' && type !== 'overflow' && type !== 'feedback_buttons' && type !== 'icon_button',
      )
      .map((element) => [block.block_id, element.action_id, { type: element.type, ...valueOf(element, undefined) }] as const),
  );
  return Object.fromEntries(stateful.map(([block, action, value]) => [block, { [String(action)]: value }]));
}

/** The values of a modal's inputs, when the client would let the person submit them. */
function stateOf(view: View, entered: Readonly<Record<string, Entered>>): Json {
  const inputs = view.blocks.filter(({ type }) => type === 'input');
  const unknown = Object.keys(entered).find((id) => !inputs.some((block) => block.block_id === id));
  if (unknown !== undefined)
    throw new Error(`The modal has no input ${unknown}: there are ${inputs.map((block) => block.block_id).join(', ')}.`);
  return Object.fromEntries(
    inputs.map((block) => {
      const element = block.element as Json;
      const value = valueOf(element, entered[String(block.block_id)]);
      const [content] = Object.values(value);
      const isEmpty = content === null || content === '' || (Array.isArray(content) && content.length === 0);
      if (isEmpty && block.optional !== true) throw new Error(`Slack does not let ${String(block.block_id)} be empty.`);
      const length = typeof content === 'string' ? content.length : 0;
      if (length > Number(element.max_length ?? 3000))
        throw new Error(`Slack does not take ${length} characters for ${String(block.block_id)}.`);
      if (!isEmpty && length < Number(element.min_length ?? 0)) throw new Error(`${String(block.block_id)} is too short for Slack.`);
      return [
        String(block.block_id),
        { [typeof element.action_id === 'string' ? element.action_id : 'action']: { type: element.type, ...value } },
      ];
    }),
  );
}
