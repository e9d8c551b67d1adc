import { capital } from './letters.ts';

export const greeting = (name: string): string => `Hello, ${capital(name)}`;
