// What a laptop's firmware tells of itself: a battery of 50 Wh, a mains adapter and a thermal zone.
//
// Their values stand in the scratch registers of three serial ports, which nothing else uses: whoever writes there
// (the emulator's monitor, command `o`) plays the world, and the kernel hears of it through the methods below.
DefinitionBlock ("", "SSDT", 2, "FTUNED", "WORLD", 0x00000001)
{
    External (\_SB.CPUS.C000, DeviceObj)

    Scope (\_SB)
    {
        OperationRegion (COM2, SystemIO, 0x02FF, 1)
        OperationRegion (COM3, SystemIO, 0x03EF, 1)
        OperationRegion (COM4, SystemIO, 0x02EF, 1)
        Field (COM2, ByteAcc, NoLock, Preserve) { PCNT, 8 }  // the charge, %
        Field (COM3, ByteAcc, NoLock, Preserve) { MAIN, 8 }  // 1: on mains
        Field (COM4, ByteAcc, NoLock, Preserve) { CELS, 8 }  // the heat, °C

        Device (ADP1)
        {
            Name (_HID, "ACPI0003")
            Name (_PCL, Package () { \_SB })
            Method (_PSR, 0, NotSerialized) { Return (MAIN) }
        }

        Device (BAT0)
        {
            Name (_HID, EisaId ("PNP0C0A"))
            Name (_UID, 0)
            Name (_PCL, Package () { \_SB })
            Method (_STA, 0, NotSerialized) { Return (0x1F) }

            // mWh, as designed and when last full; rechargeable; 12 V; warning, low; steps; its names
            Name (_BIF, Package () {
                0, 50000, 50000, 1, 12000, 5000, 2500, 100, 100, "WORLD", "1", "LION", "finetuned"
            })

            // discharging (1) or charging (2), at 10 W; what remains, mWh; 12 V
            Method (_BST, 0, NotSerialized)
            {
                Local0 = Package (4) { 1, 10000, 0, 12000 }
                If (MAIN) { Local0[0] = 2 }
                Local0[2] = PCNT * 500
                Return (Local0)
            }
        }
    }

    Scope (\_TZ)
    {
        ThermalZone (TZ00)
        {
            Method (_TMP, 0, NotSerialized) { Return (2732 + (\_SB.CELS * 10)) }
            Name (_CRT, 3782)  // 105 °C: the kernel turns the machine off
            Name (_PSV, 3552)  //  82 °C: the kernel slows the processor down
            Name (_PSL, Package () { \_SB.CPUS.C000 })
            Name (_TC1, 1)
            Name (_TC2, 1)
            Name (_TSP, 50)
            Name (_TZP, 50)
        }
    }
}
