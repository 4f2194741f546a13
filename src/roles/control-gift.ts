// What a control plane gives a machine that was invited to be another one: the master key, the way to the store, and the settings in which
// control planes of one platform must not differ.

import { readFile } from 'node:fs/promises';
import { SETTINGS, variableText } from '../config.ts';
import type { SettingName, Settings } from '../config.ts';
import { Failure } from '../lib/failure.ts';
import type { ControlGift } from './kept-settings.ts';
import { storeFiles } from './open-store.ts';

const SHARED = [
  'store',
  'domain',
  'edgeApi',
  'acme',
  'acmeEmail',
  'acmeResolvers',
  'nodeGraceMs',
  'retainEndedMs',
  'bundleBytes',
  'kvKeys',
  'kvBytes',
] as const satisfies readonly SettingName[];

/** Throws `unsupported` where no other machine can use the store. */
export async function makeGift(settings: Settings, masterKeyFile: string): Promise<Omit<ControlGift, 'name'>> {
  const members = /^etcds?:\/\/([^/]+)/u.exec(settings.store ?? '')?.[1]?.split(',');
  if (members === undefined)
    throw new Failure('unsupported', {
      message: 'The store of this platform is a file of this machine: nobody else can be a control plane of it.',
      hint: 'Move it to etcd first: libra store migrate (docs/guide/store.md)',
    });
  const own = members.find((member) => /^(?:127\.|localhost(?::|$)|\[::1\])/u.test(member));
  if (own !== undefined)
    throw new Failure('unsupported', {
      message: `--store names a member as ${own}, which is another machine's own loopback there.`,
      hint: 'Start with the addresses at which every machine reaches the members.',
    });
  const variables: Record<string, string> = {};
  for (const name of SHARED) {
    const text = variableText(settings, name);
    if (text !== null) variables[SETTINGS[name].variable] = text;
  }
  const [masterKey, files] = await Promise.all([readFile(masterKeyFile, 'utf8'), storeFiles(settings)]);
  return { masterKey: masterKey.trim(), variables, ...files };
}
