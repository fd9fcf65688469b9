#include "frame.h"
#include "hal.h"
#include "session.h"

enum { WAIT_MS = 5 }; /* well below the shortest watchdog */

int main(int argc, char **argv)
{
    static uint8_t bytes[4096];
    struct frame frame;
    if (!hal_open(argc, argv))
        return 1;
    session_start();
    while (hal_running()) {
        const uint32_t count = hal_link_read(bytes, sizeof bytes, WAIT_MS);
        for (uint32_t n = 0; n < count; n++)
            if (frame_push(bytes[n], &frame))
                session_frame(&frame);
        session_watch();
    }
    hal_idle();
    return 0;
}
