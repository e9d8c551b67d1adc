/** One line of JSON per event, to the holder's log. */
export type Log = (level: 'info' | 'warn' | 'error', message: string, details?: Readonly<Record<string, unknown>>) => void;

export const log: Log = (level, message, details) => {
  console.log(JSON.stringify({ at: new Date().toISOString(), level, message, ...details }));
};
