/* Sessions, sequence numbers and states: each number fires at most once. */
#ifndef SESSION_H
#define SESSION_H

#include "frame.h"

/* After a start: idle, nothing accepted, outputs at rest. */
void session_start(void);

/* Do what a frame asks and answer it. */
void session_frame(const struct frame *frame);

/* Go safe where the host has been silent for too long; to be called all the time. */
void session_watch(void);

#endif
