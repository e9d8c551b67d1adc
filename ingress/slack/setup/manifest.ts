/** The app as Slack is told of it (docs.slack.dev: App manifests): just what the bot uses, and nothing that it might one day. */
import { EVENTS_PATH } from '../receive/http.ts';

export const BOT_SCOPES = [
  'app_mentions:read',
  'assistant:write',
  'channels:history',
  'channels:read',
  'chat:write',
  'commands',
  'files:read',
  'files:write',
  'groups:history',
  'groups:read',
  'im:history',
  'im:read',
  'im:write',
  'reactions:read',
  'reactions:write',
  'users:read',
];

const BOT_EVENTS = [
  'app_mention',
  'assistant_thread_context_changed',
  'assistant_thread_started',
  'message.channels',
  'message.groups',
  'message.im',
  'reaction_added',
  'reaction_removed',
];

/** @param way by which events come: the public address of the platform, or Socket Mode */
export function manifest(way: { readonly url: string } | 'socket', name = 'Centaur') {
  const address = way === 'socket' ? undefined : `${way.url.replace(/\/+$/, '')}${EVENTS_PATH}`;
  return {
    display_information: {
      name,
      description: 'Agents that do things, in the thread where you ask for them.',
      background_color: '#1d1d21',
    },
    features: {
      bot_user: { display_name: name.toLowerCase(), always_online: true },
      app_home: { home_tab_enabled: false, messages_tab_enabled: true, messages_tab_read_only_enabled: false },
      assistant_view: {
        assistant_description: 'Say what you want done. It answers in this thread, and shows what it does.',
        suggested_prompts: [],
      },
      slash_commands: [
        {
          command: '/centaur',
          ...(address === undefined ? {} : { url: address }),
          description: 'Workflows, and what runs here',
          usage_hint: 'help | workflows | run <name> [json] | runs | status | stop | link <code> | whoami',
          should_escape: false,
        },
      ],
    },
    oauth_config: { scopes: { bot: BOT_SCOPES } },
    settings: {
      event_subscriptions: { ...(address === undefined ? {} : { request_url: address }), bot_events: BOT_EVENTS },
      interactivity: { is_enabled: true, ...(address === undefined ? {} : { request_url: address }) },
      org_deploy_enabled: false,
      socket_mode_enabled: address === undefined,
      token_rotation_enabled: false,
    },
  };
}
