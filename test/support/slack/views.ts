/** Modals and the App Home: views.open, push, update, publish; what opens a modal is a trigger, good for one use within 3 seconds. */
import { randomBytes } from 'node:crypto';
import { invalid, type Methods, needed, SlackError, textOf } from './api.ts';
import { checkView } from './blocks.ts';
import { APP, idOf, type Json, TEAM, type World } from './world.ts';

const TRIGGER_MS = 3000;
const VIEW_BYTES = 250_000;
/** docs: modals: three views deep. */
const STACK_MAX = 3;

export interface View {
  readonly id: string;
  readonly type: 'modal' | 'home';
  readonly title?: { readonly text: string };
  readonly blocks: readonly Json[];
  readonly callback_id: string;
  readonly private_metadata: string;
  readonly external_id: string;
  readonly hash: string;
  readonly root_view_id: string;
  readonly previous_view_id: string | null;
  readonly notify_on_close: boolean;
  readonly state: { readonly values: Json };
}

interface Trigger {
  readonly user: string;
  readonly until: number;
  readonly view: string | undefined;
  used: boolean;
}

export interface Views {
  readonly methods: Methods;
  /** @param view from which it came, for views.push */
  newTrigger(user: string, view?: string): string;
  /** The modals a person has open, the one on top last. */
  modals(user: string): readonly View[];
  home(user: string): View | undefined;
  find(id: string): { readonly view: View; readonly user: string } | undefined;
  /** The answer `update` to a submission, or what was typed in. */
  replace(id: string, view: unknown): View;
  push(user: string, from: string, view: unknown): void;
  keepState(id: string, values: Json): View;
  close(id: string): void;
  closeAll(user: string): void;
}

export function createViews(world: World): Views {
  const triggers = new Map<string, Trigger>();
  const stacks = new Map<string, View[]>();
  const homes = new Map<string, View>();
  let made = 0;

  const stackOf = (user: string): View[] => {
    const stack = stacks.get(user) ?? [];
    stacks.set(user, stack);
    return stack;
  };
  const find: Views['find'] = (id) => {
    for (const [user, stack] of stacks) {
      const view = stack.find((one) => one.id === id);
      if (view !== undefined) return { view, user };
    }
    for (const [user, view] of homes) if (view.id === id) return { view, user };
    return undefined;
  };
  const put = (after: View) => {
    for (const stack of stacks.values()) {
      const place = stack.findIndex((one) => one.id === after.id);
      if (place >= 0) stack[place] = after;
    }
    for (const [user, view] of homes) if (view.id === after.id) homes.set(user, after);
    return after;
  };

  const views: Views = {
    methods: {
      'views.open': ({ args }) => {
        const view = checked(args.view, 'modal');
        const { user } = exchange(needed(args, 'trigger_id', 'invalid_trigger_id'));
        const opened = newView(view);
        // a person has one stack of modals: a new one takes the old one's place
        stacks.set(user, [opened]);
        return { view: wireView(opened) };
      },
      'views.push': ({ args }) => {
        const view = checked(args.view, 'modal');
        const { user, view: from } = exchange(needed(args, 'trigger_id', 'invalid_trigger_id'));
        if (from === undefined || !stackOf(user).some((one) => one.id === from)) throw new SlackError('view_not_found');
        return { view: wireView(pushOn(user, view)) };
      },
      'views.update': ({ args }) => {
        const id = textOf(args, 'view_id');
        const external = textOf(args, 'external_id');
        const all = [...stacks.values()].flat();
        const before = id === undefined ? all.find((one) => external !== undefined && one.external_id === external) : find(id)?.view;
        if (before === undefined) throw new SlackError('not_found');
        const hash = textOf(args, 'hash');
        if (hash !== undefined && hash !== before.hash) throw new SlackError('hash_conflict');
        return { view: wireView(put(renewed(before, checked(args.view, before.type, before.id)))) };
      },
      'views.publish': ({ args }) => {
        const user = needed(args, 'user_id');
        if (world.users.findOneBy('user_id', user) === undefined) throw new SlackError('user_not_found');
        const view = checked(args.view, 'home');
        const before = homes.get(user);
        const hash = textOf(args, 'hash');
        if (before !== undefined && hash !== undefined && hash !== before.hash) throw new SlackError('hash_conflict');
        const after = before === undefined ? newView(view) : renewed(before, view);
        homes.set(user, after);
        return { view: wireView(after) };
      },
    },
    newTrigger(user, view) {
      const id = `${Math.floor(world.clock.now())}.${APP.userId.length}${triggers.size}.${randomBytes(16).toString('hex')}`;
      triggers.set(id, { user, until: world.clock.now() + TRIGGER_MS, view, used: false });
      return id;
    },
    modals: (user) => stackOf(user),
    home: (user) => homes.get(user),
    find,
    replace(id, view) {
      const before = find(id)?.view;
      if (before === undefined) throw new SlackError('not_found');
      return put(renewed(before, checked(view, 'modal', id)));
    },
    push: (user, from, view) => {
      if (!stackOf(user).some((one) => one.id === from)) throw new SlackError('view_not_found');
      pushOn(user, checked(view, 'modal'));
    },
    keepState(id, values) {
      const before = find(id)?.view;
      if (before === undefined) throw new SlackError('not_found');
      return put({ ...before, state: { values } });
    },
    close(id) {
      for (const [user, stack] of stacks)
        stacks.set(
          user,
          stack.filter((one) => one.id !== id),
        );
    },
    closeAll: (user) => void stacks.set(user, []),
  };
  return views;

  function exchange(id: string): Trigger {
    const trigger = triggers.get(id);
    if (trigger === undefined) throw new SlackError('invalid_trigger_id');
    if (trigger.used) throw new SlackError('exchanged_trigger_id');
    if (world.clock.now() > trigger.until) throw new SlackError('expired_trigger_id');
    trigger.used = true;
    return trigger;
  }

  /** @param own the view that it will be, which may keep its external id */
  function checked(view: unknown, type: 'modal' | 'home', own?: string): Json {
    const problems = checkView(view);
    if (problems.length > 0) throw invalid('invalid_arguments', problems);
    if (JSON.stringify(view).length > VIEW_BYTES) throw new SlackError('view_too_large');
    if ((view as Json).type !== type) throw new SlackError('invalid_arguments');
    const external = (view as Json).external_id;
    const others = [...stacks.values()].flat().filter((one) => one.id !== own);
    if (typeof external === 'string' && external !== '' && others.some((one) => one.external_id === external))
      throw new SlackError('duplicate_external_id');
    return view as Json;
  }

  function newView(view: Json, previous?: View): View {
    made += 1;
    const id = idOf('V', `VIEW${made}`);
    return { ...fieldsOf(view), id, root_view_id: previous?.root_view_id ?? id, previous_view_id: previous?.id ?? null, hash: newHash() };
  }

  function pushOn(user: string, view: Json): View {
    const stack = stackOf(user);
    if (stack.length >= STACK_MAX) throw new SlackError('push_limit_reached');
    const opened = newView(view, stack.at(-1));
    stack.push(opened);
    return opened;
  }

  function renewed(before: View, view: Json): View {
    const { id, root_view_id: root, previous_view_id: previous } = before;
    // what was typed stays in blocks that keep their ids
    return { ...fieldsOf(view), id, root_view_id: root, previous_view_id: previous, hash: newHash(), state: before.state };
  }

  function fieldsOf(view: Json): Omit<View, 'id' | 'root_view_id' | 'previous_view_id' | 'hash'> {
    const { blocks, ...rest } = view as Json & { readonly blocks: readonly Json[] };
    return {
      callback_id: '',
      private_metadata: '',
      external_id: '',
      notify_on_close: false,
      state: { values: {} },
      ...(rest as { readonly type: 'modal' | 'home' }),
      blocks: blocks.map((block, place) => ({ ...block, block_id: block.block_id ?? `v${place}` })),
    };
  }

  function newHash(): string {
    return `${Math.floor(world.clock.now() / 1000)}.${randomBytes(4).toString('hex')}`;
  }
}

/** A view as it is in payloads and answers. */
export function wireView(view: View): Json {
  const { clear_on_close: clear = false, close = null, submit = null } = view as View & Json;
  return {
    ...view,
    team_id: TEAM.id,
    app_id: APP.appId,
    app_installed_team_id: TEAM.id,
    bot_id: APP.botId,
    clear_on_close: clear,
    close,
    submit,
  };
}
