// The Docker driver where this Node shall have it. Found by itself only at its usual place, and only where it may be used.

import { accessSync, constants } from 'node:fs';
import type { Settings } from '../config.ts';
import { BUILTIN_DRIVERS } from '../driver/builtin.ts';
import type { Driver } from '../driver/contract.ts';
import type { DockerDriverOptions } from '../driver/docker/driver.ts';
import { parseEngineEndpoint } from '../driver/docker/endpoint.ts';
import { imageSpace } from '../model/docker-settings.ts';

const USUAL_SOCKET = '/var/run/docker.sock';

/** null: this Node runs no images. Throws `invalid_input` where the settings name something that cannot be. */
export async function openDocker(
  settings: Pick<Settings, 'docker' | 'dockerTls' | 'dockerLogins' | 'dockerSubnets' | 'dockerImages'>,
  around: Required<Pick<DockerDriverOptions, 'dataFolder' | 'ownFolder' | 'clock' | 'log'>>,
): Promise<Driver | null> {
  const wanted = settings.docker ?? 'auto';
  if (wanted === 'off' || (wanted === 'auto' && !isUsable(USUAL_SOCKET))) return null;
  return await BUILTIN_DRIVERS.docker({
    ...around,
    endpoint: parseEngineEndpoint(wanted === 'auto' ? `unix://${USUAL_SOCKET}` : wanted, settings.dockerTls),
    loginFile: settings.dockerLogins,
    ...(settings.dockerImages === null ? {} : { imageSpace: imageSpace(settings.dockerImages) }),
    ...(settings.dockerSubnets === null ? {} : { subnets: settings.dockerSubnets }),
  });
}

function isUsable(socket: string): boolean {
  try {
    accessSync(socket, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
