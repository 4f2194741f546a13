// A message of the corpus: bytes as a hostile or an honest client may send them, and what a strict proxy makes of them.

export const HOST = 'app.localhost';

/** What arrives behind the Edge. */
export interface Understood {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly body: string;
}

export interface Message {
  readonly name: string;
  /** latin1. */
  readonly bytes: string;
  /** What arrives, in order, before anything that is refused. */
  readonly arrives: readonly Understood[];
  /** The status of the refusal that ends the connection; null where nothing is refused. */
  readonly refused: number | null;
}

export function understood(method: string, target: string, body = '', host = HOST): Understood {
  return { method, target, host, body };
}

export function refuses(name: string, bytes: string, status = 400): Message {
  return { name, bytes, arrives: [], refused: status };
}

export function passes(name: string, bytes: string, ...arrives: readonly Understood[]): Message {
  return { name, bytes, arrives, refused: null };
}

/** A request with the given lines between the Host field and the empty line. */
export function request(line: string, fields: readonly string[] = [], body = ''): string {
  return [line, `Host: ${HOST}`, ...fields, '', body].join('\r\n');
}

export function get(target: string, ...fields: readonly string[]): string {
  return request(`GET ${target} HTTP/1.1`, fields);
}

export function post(fields: readonly string[], body: string): string {
  return request('POST /post HTTP/1.1', fields, body);
}

/** A character as it can stand in a name of a test. */
export function shown(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`;
}
