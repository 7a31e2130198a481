package core

// SetWindowForTest changes the credit of a consumer whose window the test did not keep.
func (c *Consumer) SetWindowForTest(limit int) { c.spec.Window.SetLimit(limit) }
