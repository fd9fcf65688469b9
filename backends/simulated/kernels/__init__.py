"""The pulsed update on the CPU, compiled by Numba.

Devices are independent of each other, the pulses of one device are sequential. `pieces` prepares the trains; `dense`
looks at all devices in vectors, `sparse` at those alone whose lines fire; both move a device by the one function
`steps.moved`, so they give the same bits, and which of them runs is a matter of speed alone.
"""
