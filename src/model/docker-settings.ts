// Settings of a Node about containers, as people write them.

import { Failure } from '../lib/failure.ts';

/** Where a Docker engine listens, or whether one is looked for at all. */
export function dockerEngine(text: string, source: string): string {
  if (text !== 'auto' && text !== 'off' && !/^unix:\/\/\/|^tcp:\/\//u.test(text)) {
    throw new Failure('invalid_input', {
      message: `${source} must be auto, off, unix:///path or tcp://host:port, not ${JSON.stringify(text)}.`,
    });
  }
  return text;
}

export function driverNames(text: string, source: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  if (!names.every((name) => name === 'process' || name === 'docker'))
    throw new Failure('invalid_input', { message: `${source} must be process, docker or process,docker, not ${JSON.stringify(text)}.` });
  return names;
}

export function dockerSubnets(text: string, source: string): string {
  const match = /^(?:\d{1,3}\.){3}\d{1,3}\/(\d{1,2})$/u.exec(text);
  if (match === null || Number(match[1]) < 8 || Number(match[1]) > 24)
    throw new Failure('invalid_input', {
      message: `${source} must be an IPv4 range from /8 to /24, such as 10.212.0.0/14, not ${JSON.stringify(text)}.`,
    });
  return text;
}

/** Percent of the disk in use: where deletion of images begins, and where it ends. */
export function dockerImages(text: string, source: string): string {
  const space = imageSpace(text);
  if (text !== 'off' && (space === null || space.high > 100 || space.low > space.high))
    throw new Failure('invalid_input', {
      message: `${source} must be two percentages, the second no more than the first, such as 85,80, or off, not ${JSON.stringify(text)}.`,
    });
  return text;
}

/** Of a text that `dockerImages` has taken; null: off. */
export function imageSpace(text: string): { readonly high: number; readonly low: number } | null {
  const [, high, low] = /^(\d{1,3})%?,\s*(\d{1,3})%?$/u.exec(text) ?? [];
  return high === undefined || low === undefined ? null : { high: Number(high), low: Number(low) };
}
